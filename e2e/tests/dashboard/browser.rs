//! What keeps cookies, as a browser does, and speaks HTTP; no more.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Somebody with cookies.
#[derive(Clone, Debug)]
pub struct Browser {
    address: String,
    /// How it names itself.
    pub user_agent: String,
    /// Its cookies.
    pub cookies: BTreeMap<String, String>,
    /// How they were set, word for word.
    pub set_cookies: Vec<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, their names in small letters; of several with a name the last.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    set_cookies: Vec<String>,
}

impl Browser {
    /// One that nobody has signed in with.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            user_agent: "test".to_owned(),
            cookies: BTreeMap::new(),
            set_cookies: Vec::new(),
        }
    }

    /// Signs in, as a script does: without the page's token.
    pub async fn sign_in(&mut self, email: &str, password: &str) {
        let answer = self.post("/login", &[("email", email), ("password", password)], &[]).await;
        assert_eq!(answer.status, 303, "{email}: {}", answer.body);
        self.keep(answer);
    }

    /// Keeps the cookies that an answer sets.
    pub fn keep(&mut self, answer: Answer) {
        for set in &answer.set_cookies {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        self.set_cookies = answer.set_cookies;
    }

    /// The status of an attempt to sign in.
    pub async fn guess(&self, email: &str, password: &str) -> u16 {
        self.post("/login", &[("email", email), ("password", password)], &[]).await.status
    }

    /// A GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", &[]).await
    }

    /// A GET with more headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, "", headers).await
    }

    /// The first bytes of an answer that does not end, until they hold `enough`.
    pub async fn begin(&self, path: &str, enough: &str) -> (u16, String) {
        self.begin_times(path, enough, 1).await
    }

    /// The same, until they hold `enough` so many times.
    pub async fn begin_times(&self, path: &str, enough: &str, times: usize) -> (u16, String) {
        let mut stream = self.send("GET", path, "", &[]).await;
        let (mut text, mut bytes) = (String::new(), [0; 16_384]);
        while text.matches(enough).count() < times {
            let read = stream.read(&mut bytes).await.expect("an answer");
            assert!(read > 0, "{path} ended: {text}");
            text += &String::from_utf8_lossy(&bytes[..read]);
        }
        (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
    }

    /// Asks, and leaves the answer to the caller.
    pub async fn open(&self, path: &str) -> TcpStream {
        self.send("GET", path, "", &[]).await
    }

    /// A page that must be there.
    pub async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// JSON that must be there.
    pub async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(
            (answer.status, &*answer.headers["content-type"]),
            (200, "application/json"),
            "{path}: {}",
            answer.body
        );
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The token in the forms of a page.
    pub async fn csrf(&self, path: &str) -> String {
        let page = self.page(path).await;
        let field = Regex::new(r#"name="csrf" value="([0-9a-f]{64})""#).unwrap();
        field.captures(&page).expect("a form")[1].to_owned()
    }

    /// Sends a form of a page, with the hidden fields that the page has for it.
    pub async fn send_form(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let html = self.page(page).await;
        let hidden = |name: &str| {
            let field = Regex::new(&format!(r#"name="{name}" value="([^"]*)""#)).unwrap();
            field.captures(&html).map(|found| found[1].to_owned()).unwrap_or_default()
        };
        let (csrf, seen, version) = (hidden("csrf"), hidden("seen"), hidden("version"));
        let hidden = [("csrf", &*csrf), ("seen", &*seen), ("version", &*version)];
        self.post(path, &[&hidden[..], fields].concat(), &[]).await
    }

    /// A POST of a form.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.ask("POST", path, &body, headers).await
    }

    async fn send(&self, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> TcpStream {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.address,
            self.user_agent,
            body.len()
        );
        if !cookies.is_empty() {
            head += &format!("Cookie: {}\r\n", cookies.join("; "));
        }
        if method == "POST" {
            head += "Content-Type: application/x-www-form-urlencoded\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut stream = TcpStream::connect(&self.address).await.expect("the dashboard");
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.expect("the request sent");
        stream
    }

    async fn ask(&self, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = self.send(method, path, body, headers).await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pairs: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let set_cookies =
            pairs.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.clone()).collect();
        Answer { status, headers: pairs.into_iter().collect(), body: body.to_owned(), set_cookies }
    }
}
