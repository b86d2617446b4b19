//! The tester against an entity that the test plays by hand.

use std::time::Duration;

use doip::{
    ActivationCode, ConnectError, Connection, ConnectionConfig, DiagnosticNackCode, LinkError, Message,
    StreamDecoder,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TESTER: u16 = 0x0E80;
const ECU: u16 = 0x1001;

struct Peer {
    stream: TcpStream,
    decoder: StreamDecoder,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            decoder: StreamDecoder::default(),
        }
    }

    async fn next(&mut self) -> Option<Message> {
        let mut buffer = [0; 1024];
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return Some(message);
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.push(&buffer[..count]),
            }
        }
    }

    async fn send(&mut self, message: &Message) {
        self.stream.write_all(&message.encode()).await.unwrap();
    }

    async fn activate(&mut self, code: ActivationCode) {
        assert!(matches!(
            self.next().await,
            Some(Message::ActivationRequest { source: TESTER, .. })
        ));
        self.send(&Message::ActivationResponse {
            tester: TESTER,
            entity: 0x1000,
            code,
            oem: None,
        })
        .await;
    }

    async fn request(&mut self) -> Vec<u8> {
        match self.next().await {
            Some(Message::Diagnostic {
                source: TESTER,
                target: ECU,
                data,
            }) => data,
            other => panic!("{other:?}"),
        }
    }

    async fn ack(&mut self) {
        self.send(&Message::DiagnosticAck {
            source: ECU,
            target: TESTER,
            code: 0,
            previous: vec![],
        })
        .await;
    }
}

async fn listener() -> (TcpListener, ConnectionConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = ConnectionConfig::new(listener.local_addr().unwrap(), TESTER);
    config.acknowledge_timeout = Duration::from_millis(200);
    config.activation_timeout = Duration::from_millis(500);
    config.alive_check_wait = Duration::from_millis(20);
    (listener, config)
}

async fn connected() -> (Connection, Peer) {
    let (listener, config) = listener().await;
    let (connection, peer) = tokio::join!(Connection::connect(config), async {
        let mut peer = Peer::accept(&listener).await;
        peer.activate(ActivationCode::Success).await;
        peer
    });
    (connection.unwrap(), peer)
}

#[tokio::test]
async fn a_message_and_its_answer_travel_byte_by_byte() {
    let (connection, mut peer) = connected().await;
    assert_eq!(connection.entity_address(), 0x1000);
    let mut target = connection.target(ECU).await.unwrap();
    let entity = async {
        assert_eq!(peer.request().await, [0x3E, 0x00]);
        peer.ack().await;
        let answer = Message::Diagnostic {
            source: ECU,
            target: TESTER,
            data: vec![0x7E, 0x00],
        };
        for byte in answer.encode() {
            peer.stream.write_all(&[byte]).await.unwrap();
            peer.stream.flush().await.unwrap();
        }
    };
    let tester = async {
        target.send(vec![0x3E, 0x00]).await.unwrap();
        target.recv().await.unwrap()
    };
    let ((), answer) = tokio::join!(entity, tester);
    assert_eq!(answer, [0x7E, 0x00]);
}

#[tokio::test]
async fn answers_are_told_apart_by_the_control_unit() {
    let (connection, mut peer) = connected().await;
    let mut first = connection.target(ECU).await.unwrap();
    let mut second = connection.target(0x1002).await.unwrap();
    // A request of each goes first, so that both are registered when the answers come.
    let entity = async {
        for source in [ECU, 0x1002] {
            assert!(peer.next().await.is_some());
            peer.send(&Message::DiagnosticAck {
                source,
                target: TESTER,
                code: 0,
                previous: vec![],
            })
            .await;
        }
        for source in [0x1002, ECU] {
            let data = source.to_be_bytes().to_vec();
            peer.send(&Message::Diagnostic {
                source,
                target: TESTER,
                data,
            })
            .await;
        }
    };
    let tester = async {
        first.send(vec![1]).await.unwrap();
        second.send(vec![1]).await.unwrap();
        (first.recv().await.unwrap(), second.recv().await.unwrap())
    };
    let ((), answers) = tokio::join!(entity, tester);
    assert_eq!(answers, (vec![0x10, 0x01], vec![0x10, 0x02]));
}

#[tokio::test]
async fn a_negative_acknowledgement_refuses_one_message_only() {
    let (connection, mut peer) = connected().await;
    let target = connection.target(ECU).await.unwrap();
    let entity = async {
        peer.request().await;
        let code = DiagnosticNackCode::TargetUnreachable;
        peer.send(&Message::DiagnosticNack {
            source: ECU,
            target: TESTER,
            code,
            previous: vec![],
        })
        .await;
        peer.request().await;
        peer.ack().await;
    };
    let tester = async { (target.send(vec![1]).await, target.send(vec![2]).await) };
    let ((), (first, second)) = tokio::join!(entity, tester);
    assert_eq!(
        first,
        Err(LinkError::Refused(DiagnosticNackCode::TargetUnreachable))
    );
    assert_eq!(second, Ok(()));
}

#[tokio::test]
async fn without_acknowledgement_the_connection_is_given_up() {
    let (connection, _peer) = connected().await;
    let target = connection.target(ECU).await.unwrap();
    assert!(matches!(
        target.send(vec![1]).await,
        Err(LinkError::NotAcknowledged(_))
    ));
    connection.closed().await;
    assert_eq!(target.send(vec![1]).await, Err(LinkError::Closed));
}

#[tokio::test]
async fn an_alive_check_is_answered() {
    let (_connection, mut peer) = connected().await;
    peer.send(&Message::AliveCheckRequest).await;
    assert_eq!(
        peer.next().await,
        Some(Message::AliveCheckResponse { source: TESTER })
    );
}

#[tokio::test]
async fn the_end_of_the_connection_is_told_after_what_came_before() {
    let (connection, mut peer) = connected().await;
    let mut target = connection.target(ECU).await.unwrap();
    let entity = async {
        peer.request().await;
        peer.ack().await;
        peer.send(&Message::Diagnostic {
            source: ECU,
            target: TESTER,
            data: vec![0x51, 0x01],
        })
        .await;
        drop(peer);
    };
    let ((), sent) = tokio::join!(entity, target.send(vec![0x11, 0x01]));
    assert_eq!(sent, Ok(()));
    assert_eq!(target.recv().await, Ok(vec![0x51, 0x01]));
    assert_eq!(target.recv().await, Err(LinkError::Closed));
}

#[tokio::test]
async fn a_broken_pattern_closes_the_connection() {
    let (connection, mut peer) = connected().await;
    peer.stream.write_all(&[0x02, 0x02]).await.unwrap();
    connection.closed().await;
    assert!(connection.is_closed());
}

#[tokio::test]
async fn an_address_in_use_is_tried_again() {
    let (listener, config) = listener().await;
    let entity = async {
        Peer::accept(&listener)
            .await
            .activate(ActivationCode::SourceInUse)
            .await;
        let mut peer = Peer::accept(&listener).await;
        peer.activate(ActivationCode::Success).await;
        peer
    };
    let (connection, _peer) = tokio::join!(Connection::connect(config), entity);
    assert!(connection.is_ok());
}

#[tokio::test]
async fn a_refused_activation_is_named_and_not_tried_again() {
    let (listener, config) = listener().await;
    let entity = async {
        Peer::accept(&listener)
            .await
            .activate(ActivationCode::UnknownSource)
            .await;
    };
    let connecting =
        Connection::connect_with_backoff(config, doip::Backoff::default(), Duration::from_secs(5));
    let (refused, ()) = tokio::join!(connecting, entity);
    assert!(matches!(
        refused,
        Err(ConnectError::Refused(ActivationCode::UnknownSource))
    ));
}

#[tokio::test]
async fn an_entity_that_says_nothing_is_given_up() {
    let (listener, config) = listener().await;
    let (result, _peer) = tokio::join!(Connection::connect(config), Peer::accept(&listener));
    assert!(matches!(result, Err(ConnectError::Timeout(_))));
}

#[tokio::test]
async fn an_empty_message_is_refused_here() {
    let (connection, _peer) = connected().await;
    assert_eq!(connection.send_to(ECU, vec![]).await, Err(LinkError::Size(0)));
}
