//! Echo with one task per connection on tokio's multi-threaded runtime.
//!
//! usage: tokio_echo PORT [WORKERS]
use std::env;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

async fn serve(mut stream: TcpStream) {
    let mut buffer = vec![0u8; 16384];
    loop {
        let n = match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => n,
        };
        if stream.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

async fn listen(port: String) {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).ok();
        tokio::spawn(serve(stream));
    }
}

fn main() {
    let mut args = env::args().skip(1);
    let port = args.next().expect("usage: tokio_echo PORT [WORKERS]");
    let mut builder = Builder::new_multi_thread();
    if let Some(workers) = args.next() {
        builder.worker_threads(workers.parse().unwrap());
    }
    // The accept loop runs on a worker too, as #[tokio::main] would not have it: without this the
    // main thread is one more thread than the workers that were asked for.
    let runtime = builder.enable_io().build().unwrap();
    let accepting = runtime.spawn(listen(port));
    runtime.block_on(accepting).unwrap();
}
