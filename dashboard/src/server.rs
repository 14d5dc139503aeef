//! The HTTP server, in bounds: a limit on connections, on the time of a request's head, and on the time of a connection's end.
//!
//! TLS is the work of a proxy in front; see `dashboard.public_url`.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics;

/// Connections that are open at the same time; further ones wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 1_024;
/// For the head of a request, and for the next request of a connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// For the answers under way when the program ends.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Who asks, as the connection says it: the proxy's address, where there is one.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Takes the address of `dashboard.listen`.
///
/// # Errors
/// The address is not one of this machine, or is in use.
pub async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let advice = if error.kind() == ErrorKind::AddrInUse {
            "another program has that port (`ss -ltnp` says which): set dashboard.listen (DEVTOOLKIT__DASHBOARD__LISTEN) to another \
             host:port"
        } else {
            "set dashboard.listen (DEVTOOLKIT__DASHBOARD__LISTEN) to host:port, where the host is an address of this machine"
        };
        anyhow!("cannot listen on {address}: {error}; {advice}")
    })
}

/// Serves until `shutdown`, and then ends the answers that are under way.
pub async fn serve(mut listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let open = TaskTracker::new();
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((Listener::accept(&mut listener).await, place))
        };
        let ((stream, peer), place) = tokio::select! {
            Some(accepted) = accepted => accepted,
            () = shutdown.cancelled() => break,
        };
        let (router, shutdown) = (router.clone().layer(Extension(Peer(peer))), shutdown.clone());
        let places = Arc::clone(&places);
        metrics::connections(MOST_CONNECTIONS - places.available_permits());
        open.spawn(async move {
            answer(stream, router, shutdown).await;
            drop(place);
            metrics::connections(MOST_CONNECTIONS - places.available_permits());
        });
    }
    open.close();
    let _ = tokio::time::timeout(END_PATIENCE, open.wait()).await;
}

async fn answer(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // Who is too slow, or sends no HTTP, is nobody to tell it to.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
