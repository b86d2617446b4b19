//! The entity on real sockets.

use std::sync::Arc;
use std::time::Duration;

use doip::{
    ActivationCode, ConnectError, Connection, ConnectionConfig, DiagnosticNackCode, LinkError, Message,
};
use ecu_sim::{Entity, Vehicle, parse_vehicles, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const VEHICLE: &str = "
schema: vehicles/1
vehicles:
  - vin: WDB1110101A000001
    entity: {sockets: 2}
    ecus:
      - {name: ESP, la: 0x1001, part: A1, hw: H1, serial: S1, boot: B1, software: '1', secret: '00'}
      - {name: IC, la: 0x1010, part: A2, hw: H2, serial: S2, boot: B2, software: '2', secret: '00'}
";

async fn entity() -> (Arc<Vehicle>, Entity) {
    let spec = parse_vehicles(VEHICLE).unwrap().vehicles.remove(0);
    let vehicle = Arc::new(Vehicle::new(&spec, None).unwrap());
    let entity = serve(Arc::clone(&vehicle)).await.unwrap();
    (vehicle, entity)
}

async fn connect(entity: &Entity, tester: u16) -> Result<Connection, ConnectError> {
    let mut config = ConnectionConfig::new(entity.address(), tester);
    config.activation_retries = 0;
    Connection::connect(config).await
}

#[tokio::test]
async fn a_vehicle_is_found_by_udp() {
    let (_vehicle, entity) = entity().await;
    let from = "127.0.0.1:0".parse().unwrap();
    let found = doip::discover_at(from, entity.address(), Duration::from_secs(2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.announcement.vin_text(), Some("WDB1110101A000001"));
    assert_eq!(found.announcement.logical_address, 0x1000);
    let wait = Duration::from_millis(200);
    let other = doip::Filter::Vin(*b"WDB1110101A000002");
    assert!(
        doip::discover(from, entity.address(), other, wait)
            .await
            .unwrap()
            .is_empty()
    );
    let eid = doip::Filter::Eid(found.announcement.eid);
    assert_eq!(
        doip::discover(from, entity.address(), eid, wait)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_broken_datagram_is_answered_by_its_code() {
    let (_vehicle, entity) = entity().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buffer = [0; 64];
    for (bytes, code) in [
        (&[0x02, 0x02, 0, 1, 0, 0, 0, 0][..], 0x00),
        (&[0x02, 0xFD, 0x77, 0x77, 0, 0, 0, 0], 0x01),
        (&[0x02, 0xFD, 0, 1, 0, 0, 0, 1, 0], 0x04),
    ] {
        socket.send_to(bytes, entity.address()).await.unwrap();
        let count = socket.recv(&mut buffer).await.unwrap();
        let Message::HeaderNack(nack) = Message::decode(&buffer[..count]).unwrap() else {
            panic!()
        };
        assert_eq!(nack.code(), code);
    }
}

#[tokio::test]
async fn a_functional_request_is_answered_by_every_control_unit() {
    let (_vehicle, entity) = entity().await;
    let connection = connect(&entity, 0x0E80).await.unwrap();
    let mut first = connection.target(0x1001).await.unwrap();
    let mut second = connection.target(0x1010).await.unwrap();
    connection.send_to(0xE400, vec![0x10, 0x03]).await.unwrap();
    assert_eq!(first.recv().await.unwrap()[..2], [0x50, 0x03]);
    assert_eq!(second.recv().await.unwrap()[..2], [0x50, 0x03]);
}

#[tokio::test]
async fn an_unknown_address_is_refused_by_the_gateway() {
    let (_vehicle, entity) = entity().await;
    let connection = connect(&entity, 0x0E80).await.unwrap();
    let refused = connection.send_to(0x1234, vec![0x3E, 0x00]).await;
    assert_eq!(
        refused,
        Err(LinkError::Refused(DiagnosticNackCode::UnknownTarget))
    );
}

#[tokio::test]
async fn a_reset_ends_the_connection_and_the_control_unit_is_away_for_a_while() {
    let (_vehicle, entity) = entity().await;
    let connection = connect(&entity, 0x0E80).await.unwrap();
    let mut target = connection.target(0x1001).await.unwrap();
    target.send(vec![0x11, 0x01]).await.unwrap();
    assert_eq!(target.recv().await, Ok(vec![0x51, 0x01]));
    assert_eq!(target.recv().await, Err(LinkError::Closed));
    let connection = connect(&entity, 0x0E80).await.unwrap();
    let target = connection.target(0x1001).await.unwrap();
    let away = target.send(vec![0x3E, 0x00]).await;
    assert_eq!(
        away,
        Err(LinkError::Refused(DiagnosticNackCode::TargetUnreachable))
    );
    while target.send(vec![0x3E, 0x00]).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_tester_that_lives_keeps_its_address_and_one_that_died_loses_it() {
    let (_vehicle, entity) = entity().await;
    let first = connect(&entity, 0x0E80).await.unwrap();
    let refused = connect(&entity, 0x0E80).await;
    assert!(matches!(
        refused,
        Err(ConnectError::Refused(ActivationCode::SourceInUse))
    ));
    assert!(!first.is_closed());

    // A socket that is open but answers no alive check.
    let mut dead = TcpStream::connect(entity.address()).await.unwrap();
    let activation = doip::ActivationType::Default;
    let request = Message::ActivationRequest {
        source: 0x0E81,
        activation,
        oem: None,
    };
    dead.write_all(&request.encode()).await.unwrap();
    let mut buffer = [0; 64];
    assert!(dead.read(&mut buffer).await.unwrap() > 0);
    assert!(connect(&entity, 0x0E81).await.is_ok());
}

#[tokio::test]
async fn sockets_sources_and_types_are_limited() {
    let (_vehicle, entity) = entity().await;
    let code = |result: Result<Connection, ConnectError>| match result {
        Err(ConnectError::Refused(code)) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        code(connect(&entity, 0x0001).await),
        ActivationCode::UnknownSource
    );
    let mut config = ConnectionConfig::new(entity.address(), 0x0E80);
    config.activation = doip::ActivationType::CentralSecurity;
    assert_eq!(
        code(Connection::connect(config).await),
        ActivationCode::UnsupportedType
    );
    let _held = (
        connect(&entity, 0x0E80).await.unwrap(),
        connect(&entity, 0x0E81).await.unwrap(),
    );
    assert_eq!(
        code(connect(&entity, 0x0E82).await),
        ActivationCode::AllSocketsInUse
    );
}

#[tokio::test]
async fn a_message_before_the_activation_closes_the_socket() {
    let (vehicle, entity) = entity().await;
    let mut stream = TcpStream::connect(entity.address()).await.unwrap();
    let message = Message::Diagnostic {
        source: 0x0E80,
        target: 0x1001,
        data: vec![0x11, 0x01],
    };
    stream.write_all(&message.encode()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let nack = Message::decode(&bytes).unwrap();
    assert!(matches!(
        nack,
        Message::DiagnosticNack {
            code: DiagnosticNackCode::InvalidSource,
            ..
        }
    ));
    assert!(vehicle.requests().is_empty());
}

#[tokio::test]
async fn a_broken_stream_gets_its_code_and_is_closed() {
    let (_vehicle, entity) = entity().await;
    let mut stream = TcpStream::connect(entity.address()).await.unwrap();
    stream
        .write_all(&[0x02, 0xFD, 0x77, 0x77, 0, 0, 0, 1, 9])
        .await
        .unwrap();
    stream
        .write_all(&[0x02, 0xFD, 0x80, 0x01, 0x7F, 0xFF, 0xFF, 0xFF])
        .await
        .unwrap();
    let mut nacks = vec![0; 18];
    stream.read_exact(&mut nacks).await.unwrap();
    assert_eq!((nacks[8], nacks[17]), (0x01, 0x02));
    let mut stream = TcpStream::connect(entity.address()).await.unwrap();
    stream.write_all(&[0x02, 0x02]).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes[8], 0x00);
}

#[tokio::test]
async fn the_state_outlives_the_simulator_and_keys_are_not_logged() {
    let folder = tempfile::tempdir().unwrap();
    let spec = parse_vehicles(VEHICLE).unwrap().vehicles.remove(0);
    let vehicle = Arc::new(Vehicle::new(&spec, Some(folder.path())).unwrap());
    let entity = serve(Arc::clone(&vehicle)).await.unwrap();
    let connection = connect(&entity, 0x0E80).await.unwrap();
    let mut target = connection.target(0x1001).await.unwrap();
    for request in [
        &[0x10, 0x03][..],
        &[0x27, 0x01],
        &[0x27, 0x02, 1, 2, 3, 4, 5, 6, 7, 8],
    ] {
        target.send(request.to_vec()).await.unwrap();
        target.recv().await.unwrap();
    }
    assert_eq!(vehicle.requests().last().unwrap().bytes, [0x27, 0x02]);
    entity.stop().await;
    let again = Vehicle::new(&spec, Some(folder.path())).unwrap();
    assert_eq!(again.memory("ESP").unwrap().wrong_keys, 1);
    std::fs::write(folder.path().join("WDB1110101A000001.json"), "{").unwrap();
    assert!(
        Vehicle::new(&spec, Some(folder.path()))
            .unwrap_err()
            .to_string()
            .contains("damaged")
    );
}
