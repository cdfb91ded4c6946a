//! hyper over rustls: PORT CERTIFICATE KEY IDLE-SECONDS. It hands each request to the application at 127.0.0.1:APP, and
//! gives its answer back.

use std::{env, fs, sync::Arc, time::Duration};

use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{client, service::service_fn, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "transfer-encoding",
    "expect",
    "upgrade",
    "te",
    "http2-settings",
];

async fn forward(mut q: Request<Incoming>, app: u16) -> Result<Response<Incoming>, Failure> {
    if q.uri().path() == "/late" {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    if let Some(authority) = q.uri().authority() {
        let host = authority.as_str().parse()?;
        q.headers_mut().insert(HOST, host);
    }
    for name in HOP {
        q.headers_mut().remove(name);
    }
    *q.uri_mut() = q
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .parse()?;
    *q.version_mut() = hyper::Version::HTTP_11;
    let socket = TcpStream::connect(("127.0.0.1", app)).await?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let mut answer = sender.send_request(q).await?;
    for name in HOP {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
}

fn main() -> Result<(), Failure> {
    tokio::runtime::Runtime::new()?.block_on(serve())
}

async fn serve() -> Result<(), Failure> {
    let args: Vec<String> = env::args().collect();
    let idle = Duration::from_secs(args[4].parse()?);
    let app: u16 = env::var("APP")?.parse()?;
    let certificate = CertificateDer::from_pem_slice(&fs::read(&args[2])?)?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(&args[3])?)?;
    let mut tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(("127.0.0.1", args[1].parse()?)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let tls = tls.clone();
        tokio::spawn(async move {
            let socket = tls.accept(socket).await?;
            let mut server = auto::Builder::new(TokioExecutor::new());
            // It bounds the time until the next request over HTTP/1.1. Over HTTP/2 hyper keeps what is idle.
            server
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(idle);
            server
                .serve_connection(TokioIo::new(socket), service_fn(move |q| forward(q, app)))
                .await
        });
    }
}
