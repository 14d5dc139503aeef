//! The HTTP server of a program, in bounds: nobody who connects takes memory or file descriptors from the program's work.
//!
//! `axum::serve` knows neither a time limit nor a bound on connections. So each connection serves one request, has
//! [`PATIENCE`] for all of it, and [`MOST_CONNECTIONS`] are open at most: then the oldest one is closed for a new one.
//! A request of Prometheus takes milliseconds and is among the newest; what is old is idle, half-open or never read.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Connections that are open at the same time. Each takes a file descriptor, 8 KiB for the request, and its answer.
const MOST_CONNECTIONS: usize = 64;
/// From the connection to the end of the answer: Prometheus itself gives up after 10 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request's head; hyper takes no less.
const MOST_HEADER_BYTES: usize = 8_192;

/// Serves until `shutdown`.
pub(super) async fn serve(mut listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        // Accepting waits where the process has no file descriptor left, and goes on.
        let (stream, _) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = shutdown.cancelled() => break,
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MOST_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            // Its file descriptor is closed before the next one is opened.
            let _ = oldest.await;
        }
        open.push_back(tokio::spawn(answer(stream, router.clone())));
    }
    for connection in open {
        connection.abort();
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        // The time limit below is on all of it.
        .header_read_timeout(None)
        .max_buf_size(MOST_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Who is too slow, or sends no HTTP, is nobody to tell it to.
    let _ = tokio::time::timeout(PATIENCE, connection).await;
}
