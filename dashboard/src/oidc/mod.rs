//! OpenID Connect: people sign in at an identity provider, with the authorization code flow (OpenID Connect Core 1.0), PKCE (RFC 7636)
//! and the issuer in the answer (RFC 9207).
//!
//! The crate `openidconnect` is not used: its dependencies turn on features of MongoDB's driver's dependencies, so that all of them would
//! be built again. Signatures are verified by ring.

mod http;
mod token;

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use common::settings::Dashboard;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use http::{Asked, Http};
use token::Keys;

/// Where the provider sends people back to.
pub const RETURN_PATH: &str = "/login/oidc/return";

/// The identity provider of the settings.
#[derive(Debug)]
pub struct Provider {
    issuer: String,
    client_id: String,
    client_secret: SecretString,
    return_address: String,
    http: Http,
}

/// What the provider says about itself (OpenID Connect Discovery 1.0).
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    #[serde(default)]
    access_token: String,
}

/// Who somebody is, as far as the dashboard needs it.
#[derive(Debug, Clone, Default, Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
}

/// The secrets of one attempt, all made of a token that only the browser has.
#[derive(Debug, Clone)]
pub struct Attempt<'a>(pub &'a str);

impl Attempt<'_> {
    fn secret(&self, of: &str) -> String {
        let digest = Sha256::new()
            .chain_update("devtoolkit-dashboard oidc v1 ")
            .chain_update(of)
            .chain_update(":")
            .chain_update(self.0)
            .finalize();
        URL_SAFE_NO_PAD.encode(digest)
    }

    /// What the provider sends back, so that nobody puts an answer for somebody else into this browser.
    pub fn state(&self) -> String {
        self.secret("state")
    }

    /// What the provider writes into the token, so that no token of before is of use.
    fn nonce(&self) -> String {
        self.secret("nonce")
    }

    /// What the dashboard shows with the code, so that a code that was seen on its way is of no use.
    fn verifier(&self) -> String {
        self.secret("verifier")
    }
}

impl Provider {
    /// The provider of the settings; none where they name none.
    pub fn of(settings: &Dashboard) -> Option<Self> {
        if settings.oidc_issuer.is_empty() {
            return None;
        }
        let own = match settings.public_url.trim_end_matches('/') {
            "" => format!("http://{}", settings.listen),
            url => url.to_owned(),
        };
        Some(Self {
            issuer: settings.oidc_issuer.clone(),
            client_id: settings.oidc_client_id.clone(),
            client_secret: settings.oidc_client_secret.clone(),
            return_address: format!("{own}{RETURN_PATH}"),
            http: Http::new(),
        })
    }

    /// How people know the provider: its host.
    pub fn name(&self) -> &str {
        let rest = self.issuer.split_once("://").map_or(self.issuer.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }

    /// The page of the provider where one signs in.
    ///
    /// # Errors
    /// The provider does not answer as it should.
    pub async fn sign_in_address(&self, attempt: &Attempt<'_>) -> anyhow::Result<String> {
        let metadata = self.metadata().await?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(attempt.verifier()));
        let parameters = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.return_address)
            .append_pair("scope", "openid email")
            .append_pair("state", &attempt.state())
            .append_pair("nonce", &attempt.nonce())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        let endpoint = metadata.authorization_endpoint;
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{separator}{parameters}"))
    }

    /// The address of who comes back with these parameters, which the provider has verified to be theirs.
    ///
    /// # Errors
    /// The provider refused, does not answer as it should, or its answer is not for this attempt or not to be trusted.
    pub async fn email(&self, attempt: &Attempt<'_>, answer: &BTreeMap<String, String>) -> anyhow::Result<String> {
        let parameter = |name: &str| answer.get(name).map(String::as_str);
        ensure!(parameter("state") == Some(&attempt.state()), "the answer is not for this browser's attempt");
        if let Some(error) = parameter("error") {
            let shortened: String = error.chars().take(60).collect();
            bail!("the provider answers {shortened:?}");
        }
        if let Some(issuer) = parameter("iss") {
            ensure!(issuer == self.issuer, "the answer is of another issuer");
        }
        let code = parameter("code").context("the answer has no code")?;
        let metadata = self.metadata().await?;
        let tokens = self.tokens(&metadata, attempt, code).await?;
        let keys: Keys = self.http.json(Asked::get(&metadata.jwks_uri)).await.context("the provider's keys")?;
        let payload = token::verified(&tokens.id_token, &keys)?;
        token::check(&payload, &self.issuer, &self.client_id, &attempt.nonce(), Utc::now().timestamp())?;
        let mut claims: Claims = serde_json::from_slice(&payload).context("the token's claims")?;
        if claims.email.is_none() {
            let endpoint = metadata.userinfo_endpoint.context("neither the token nor anything else has an email")?;
            let asked = Asked::get(&endpoint).with_bearer(&tokens.access_token);
            let told: Claims = self.http.json(asked).await.context("the provider's userinfo")?;
            ensure!(told.sub == claims.sub, "the userinfo is of somebody else");
            claims = told;
        }
        let email = claims.email.context("the provider tells no email: it has to allow this client the scope email")?;
        ensure!(claims.email_verified, "the provider has not verified the email");
        Ok(email)
    }

    async fn metadata(&self) -> anyhow::Result<Metadata> {
        let address = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.http.json(Asked::get(&address)).await.context("the provider's description")?;
        ensure!(metadata.issuer == self.issuer, "dashboard.oidc_issuer is not what the provider calls itself");
        Ok(metadata)
    }

    async fn tokens(&self, metadata: &Metadata, attempt: &Attempt<'_>, code: &str) -> anyhow::Result<Tokens> {
        let secret = self.client_secret.expose_secret();
        let verifier = attempt.verifier();
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.return_address),
            ("code_verifier", &verifier),
        ];
        // A client without a secret is known by its name, and safe by PKCE.
        let name = secret.is_empty().then_some(("client_id", self.client_id.as_str()));
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).extend_pairs(name).finish();
        let asked = Asked::post(&metadata.token_endpoint, form);
        let asked = if secret.is_empty() { asked } else { asked.with_password(&self.client_id, secret) };
        self.http.json(asked).await.context("the provider's token")
    }
}
