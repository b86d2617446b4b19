//! The proxy's faults are the ones that it says.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fleet_testkit::{FaultProxy, Faults, Side};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(100);

/// A server that sends back what it gets, and `.` when the client has closed its side.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                if tokio::io::copy(&mut read, &mut write).await.is_ok() {
                    let _ = write.write_all(b".").await;
                }
            });
        }
    });
    address
}

async fn through(faults: Faults) -> (FaultProxy, TcpStream) {
    let proxy = FaultProxy::start(echo().await).await.expect("a proxy");
    proxy.set(faults);
    let client = TcpStream::connect(proxy.address()).await.expect("a connection");
    (proxy, client)
}

async fn read(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(SOON, client.read_exact(&mut bytes))
        .await
        .expect("in time")
        .expect("bytes");
    bytes
}

async fn reset(client: &mut TcpStream) {
    let mut rest = Vec::new();
    let end = timeout(SOON, client.read_to_end(&mut rest))
        .await
        .expect("in time");
    assert_eq!(
        end.expect_err("a reset, no end").kind(),
        ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn without_faults_bytes_and_half_close_pass() {
    let (proxy, mut client) = through(Faults::default()).await;
    client.write_all(b"hello").await.expect("sent");
    assert_eq!(read(&mut client, 5).await, b"hello");
    client.shutdown().await.expect("half closed");
    assert_eq!(read(&mut client, 1).await, b".", "the server's side stays open");
    assert_eq!(client.read(&mut [0; 1]).await.expect("an end"), 0);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn byte_wise_keeps_the_bytes_and_their_order() {
    let (_proxy, mut client) = through(Faults {
        byte_wise: true,
        ..Faults::default()
    })
    .await;
    let sent: Vec<u8> = (0..=255).collect();
    client.write_all(&sent).await.expect("sent");
    assert_eq!(read(&mut client, sent.len()).await, sent);
}

#[tokio::test]
async fn a_delay_holds_both_directions() {
    let delay = Duration::from_millis(60);
    let (_proxy, mut client) = through(Faults {
        delay,
        ..Faults::default()
    })
    .await;
    let start = Instant::now();
    client.write_all(b"x").await.expect("sent");
    read(&mut client, 1).await;
    assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_black_hole_is_silent_and_what_it_held_goes_on_when_it_heals() {
    let (proxy, mut client) = through(Faults {
        black_hole: true,
        ..Faults::default()
    })
    .await;
    client.write_all(b"held").await.expect("the kernel takes it");
    let nothing = timeout(SILENCE, client.read(&mut [0; 4])).await;
    assert!(
        nothing.is_err(),
        "neither bytes nor an end come out of a black hole"
    );
    proxy.set(Faults::default());
    assert_eq!(read(&mut client, 4).await, b"held");
}

#[tokio::test]
async fn a_cut_resets_open_connections_and_no_later_ones() {
    let (proxy, mut client) = through(Faults::default()).await;
    client.write_all(b"a").await.expect("sent");
    read(&mut client, 1).await;
    proxy.cut();
    reset(&mut client).await;
    let mut next = TcpStream::connect(proxy.address()).await.expect("a connection");
    next.write_all(b"b").await.expect("sent");
    assert_eq!(read(&mut next, 1).await, b"b");
}

#[tokio::test]
async fn a_connection_is_reset_after_the_number_of_bytes() {
    let (_proxy, mut client) = through(Faults {
        reset_after: Some(3),
        ..Faults::default()
    })
    .await;
    client.write_all(b"12").await.expect("sent");
    assert_eq!(read(&mut client, 2).await, b"12");
    client.write_all(b"345").await.expect("sent");
    reset(&mut client).await;
}

#[tokio::test]
async fn a_refusing_proxy_closes_new_connections() {
    let (_proxy, mut client) = through(Faults {
        refuse: true,
        ..Faults::default()
    })
    .await;
    let end = timeout(SOON, client.read(&mut [0; 1])).await.expect("in time");
    assert!(matches!(end, Ok(0) | Err(_)));
}

#[tokio::test]
async fn the_upstream_can_move() {
    let (proxy, _client) = through(Faults::default()).await;
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    proxy.set_upstream(gone.local_addr().expect("an address"));
    drop(gone);
    let mut refused = TcpStream::connect(proxy.address())
        .await
        .expect("the proxy itself listens");
    reset(&mut refused).await;
    proxy.set_upstream(echo().await);
    let mut client = TcpStream::connect(proxy.address()).await.expect("a connection");
    client.write_all(b"z").await.expect("sent");
    assert_eq!(read(&mut client, 1).await, b"z");
}

#[tokio::test]
async fn a_half_open_connection_is_silent_and_a_new_one_works() {
    let (proxy, mut client) = through(Faults::default()).await;
    client.write_all(b"before").await.expect("written");
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.expect("an echo");
    proxy.half_open(Side::Server);
    // The client is not told: it can write, and nothing comes.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        client.write_all(b"into the void").await.expect("nobody says no");
    }
    let heard = tokio::time::timeout(Duration::from_millis(200), client.read(&mut answer)).await;
    assert!(heard.is_err(), "{heard:?}");
    let mut fresh = TcpStream::connect(proxy.address()).await.expect("a connection");
    fresh.write_all(b"after!").await.expect("written");
    fresh.read_exact(&mut answer).await.expect("an echo");
    assert_eq!(&answer, b"after!");
}

#[tokio::test]
async fn a_client_that_is_gone_is_not_told_to_the_server() {
    let (proxy, mut client) = through(Faults::default()).await;
    client.write_all(b"before").await.expect("written");
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.expect("an echo");
    proxy.half_open(Side::Client);
    assert!(client.read(&mut answer).await.is_err(), "its own side is reset");
}
