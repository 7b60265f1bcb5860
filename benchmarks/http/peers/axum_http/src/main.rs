//! A fixed answer by axum: on tokio's current-thread runtime if one worker is asked for, which is the
//! cheaper one then, else on the multi-threaded one.
//!
//! usage: axum_http PORT WORKERS
use std::env;

use axum::serve::ListenerExt;
use axum::{routing::get, Router};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

async fn listen(port: String) {
    let app = Router::new().route("/hello", get(|| async { "Hello, world!" }));
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    let listener = listener.tap_io(|stream| {
        stream.set_nodelay(true).ok();
    });
    axum::serve(listener, app).await.unwrap();
}

fn main() {
    let mut args = env::args().skip(1);
    let port = args.next().expect("usage: axum_http PORT WORKERS");
    let workers: usize = args.next().expect("usage: axum_http PORT WORKERS").parse().unwrap();
    if workers == 1 {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(listen(port));
    } else {
        let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
        let accepting = runtime.spawn(listen(port));
        runtime.block_on(accepting).unwrap();
    }
}
