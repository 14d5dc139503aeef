//! Whoever Alertmanager tells: a webhook that remembers.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use e2e::eventually::{PATIENCE, eventually};
use serde_json::Value;
use tokio::net::TcpListener;

/// An alert as it was told.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    receiver: String,
    alert: String,
    /// `firing` or `resolved`.
    status: String,
}

/// Listens until the test ends.
pub struct Receiver {
    address: String,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/{receiver}", post(hear)).with_state(Arc::clone(&told));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, told }
    }

    /// The address that one of Alertmanager's receivers is to have.
    pub fn url(&self, receiver: &str) -> String {
        format!("http://{}/{receiver}", self.address)
    }

    /// Waits until each of the alerts has been told to the receiver.
    pub async fn firing(&self, receiver: &str, alerts: &[&str]) {
        for alert in alerts {
            self.until(alert, "firing", Some(receiver)).await;
        }
    }

    /// Waits until each of the alerts has been told to be over.
    pub async fn resolved(&self, alerts: &[&str]) {
        for alert in alerts {
            self.until(alert, "resolved", None).await;
        }
    }

    /// Waits until this is the last that was told of an alert.
    async fn until(&self, alert: &str, status: &str, receiver: Option<&str>) {
        eventually(PATIENCE, &format!("{alert} {status}"), async || {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let last = told.iter().rev().find(|told| told.alert == alert)?;
            let is_meant = receiver.is_none_or(|receiver| last.receiver == receiver);
            (last.status == status && is_meant).then_some(())
        })
        .await;
    }
}

async fn hear(State(told): State<Arc<Mutex<Vec<Told>>>>, Path(receiver): Path<String>, body: String) {
    let body: Value = serde_json::from_str(&body).unwrap();
    let alerts = body["alerts"].as_array().unwrap().iter().map(|alert| Told {
        receiver: receiver.clone(),
        alert: alert["labels"]["alertname"].as_str().unwrap().to_owned(),
        status: alert["status"].as_str().unwrap().to_owned(),
    });
    // Shown when the test fails.
    let alerts = alerts.inspect(|told| eprintln!("{told:?}"));
    told.lock().unwrap_or_else(PoisonError::into_inner).extend(alerts);
}
