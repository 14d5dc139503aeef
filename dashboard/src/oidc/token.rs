//! The token that says who signed in: a JSON Web Token (RFC 7519), signed by the provider (RFC 7515) with a key of its list (RFC 7517).

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// Seconds by which clocks may differ.
const SKEW: i64 = 60;

/// The provider's keys.
#[derive(Debug, Deserialize)]
pub(super) struct Keys {
    keys: Vec<Key>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Key {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    n: String,
    e: String,
    crv: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood: there are none.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Registered {
    iss: String,
    aud: Audience,
    exp: f64,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The claims of a token whose signature is by one of the keys.
///
/// # Errors
/// It is no such token.
pub(super) fn verified(token: &str, keys: &Keys) -> anyhow::Result<Vec<u8>> {
    let (signed, signature) = token.rsplit_once('.').context("the token has no signature")?;
    let (header, payload) = signed.split_once('.').context("the token has no claims")?;
    let header: Header = serde_json::from_slice(&bytes(header)?).context("the token's header")?;
    ensure!(header.crit.is_none(), "the token has an unknown extension");
    let signature = bytes(signature)?;
    let fits = |key: &&Key| {
        key.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && key.alg.as_ref().is_none_or(|alg| *alg == header.alg)
            && (header.kid.is_none() || key.kid == header.kid)
    };
    for key in keys.keys.iter().filter(fits) {
        // What the token says decides among these two and nothing else, so that no secret of ours is ever taken for a key.
        let is_right = match (header.alg.as_str(), key.kty.as_str(), key.crv.as_str()) {
            ("RS256", "RSA", _) => RsaPublicKeyComponents { n: bytes(&key.n)?, e: bytes(&key.e)? }
                .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
                .is_ok(),
            ("ES256", "EC", "P-256") => {
                let point = [&[4], bytes(&key.x)?.as_slice(), bytes(&key.y)?.as_slice()].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).is_ok()
            }
            _ => false,
        };
        if is_right {
            return bytes(payload);
        }
    }
    bail!("the token is signed by none of the provider's keys, or not with RS256 or ES256")
}

/// Whether the claims are for us, for this attempt, and of now, in seconds since 1970.
///
/// # Errors
/// They are not.
pub(super) fn check(payload: &[u8], issuer: &str, client_id: &str, nonce: &str, now: i64) -> anyhow::Result<()> {
    let claims: Registered = serde_json::from_slice(payload).context("the token's claims")?;
    ensure!(claims.iss == issuer, "the token is of another issuer");
    let (is_for_us, is_for_others) = match &claims.aud {
        Audience::One(one) => (one == client_id, false),
        Audience::Several(all) => (all.iter().any(|one| one == client_id), all.len() > 1),
    };
    ensure!(is_for_us, "the token is for somebody else");
    let azp = claims.azp.as_deref();
    ensure!(azp == Some(client_id) || (azp.is_none() && !is_for_others), "the token was issued to somebody else");
    ensure!(claims.exp > (now - SKEW) as f64, "the token is too old");
    ensure!(claims.nonce.as_deref() == Some(nonce), "the token is of another attempt");
    Ok(())
}

fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).context("the token, or a key, is not in the letters of base64url")
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::{Value, json};

    use super::*;

    fn text(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn signer() -> (EcdsaKeyPair, Keys) {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let key = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "a", "use": "sig" });
        (pair, serde_json::from_value(json!({ "keys": [key] })).unwrap())
    }

    fn signed(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", text(header), text(claims));
        let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn only_what_a_key_of_the_provider_signed_is_taken() {
        let (pair, keys) = signer();
        let (header, claims) = (json!({ "alg": "ES256", "kid": "a" }), json!({ "sub": "x" }));
        let token = signed(&pair, &header, &claims);
        assert_eq!(verified(&token, &keys).unwrap(), claims.to_string().into_bytes());
        assert!(verified(&signed(&pair, &json!({ "alg": "ES256" }), &claims), &keys).is_ok());
        let (stranger, _) = signer();
        let parts: Vec<&str> = token.split('.').collect();
        for forged in [
            signed(&stranger, &header, &claims),
            signed(&pair, &json!({ "alg": "ES256", "kid": "b" }), &claims),
            signed(&pair, &json!({ "alg": "ES256", "kid": "a", "crit": ["x"] }), &claims),
            signed(&pair, &json!({ "alg": "HS256", "kid": "a" }), &claims),
            format!("{}.{}.{}", parts[0], text(&json!({ "sub": "y" })), parts[2]),
            format!("{}.{}.", text(&json!({ "alg": "none" })), parts[1]),
            "a.b".to_owned(),
            String::new(),
        ] {
            assert!(verified(&forged, &keys).is_err(), "{forged}");
        }
    }

    #[test]
    fn claims_of_others_and_of_before_are_refused() {
        let good = json!({ "iss": "https://i", "aud": "us", "exp": 1_000, "nonce": "n" });
        let check = |claims: &Value, now| check(claims.to_string().as_bytes(), "https://i", "us", "n", now);
        check(&good, 1_059).unwrap();
        assert!(check(&good, 1_060).is_err(), "too old");
        let with = |field: &str, value: Value| {
            let mut claims = good.clone();
            claims[field] = value;
            claims
        };
        check(&with("aud", json!(["us"])), 0).unwrap();
        let mut several = with("aud", json!(["us", "them"]));
        assert!(check(&several, 0).is_err(), "for several, and nobody says for whom");
        several["azp"] = json!("us");
        check(&several, 0).unwrap();
        for (field, value) in [
            ("iss", json!("https://j")),
            ("aud", json!("them")),
            ("aud", json!([])),
            ("azp", json!("them")),
            ("nonce", json!("m")),
            ("nonce", Value::Null),
        ] {
            assert!(check(&with(field, value), 0).is_err(), "{field}");
        }
    }
}
