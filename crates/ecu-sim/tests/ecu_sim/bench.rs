//! A control unit on the table, with a clock that the test turns.

use std::time::Duration;

use ecu_sim::{Ecu, EcuSpec, Reaction, build_image, key_of, parse_vehicles};

pub(crate) const VIN: &str = "WDB1110101A000001";
pub(crate) const SECRET: [u8; 4] = [0xA1, 0xB2, 0xC3, 0xD4];
const VEHICLE: &str = r#"
schema: vehicles/1
vehicles:
  - vin: WDB1110101A000001
    seed: 1
    ecus:
      - name: ESP
        la: 0x1001
        part: A0009051234
        hw: HW07
        serial: ESP-1
        boot: BL-3
        software: 2.0.0
        secret: a1b2c3d4
        memory_bytes: 65536
        block_length: 130
        values: {0x2301: "0010"}
        writable: {0x2304: 2}
        routines:
          - {id: 0x0301, secured: true, duration_ms: 1000, min_supply_v: 12.0, results: {0x2301: "0020"}}
          - {id: 0x0310}
        outputs:
          - {did: 0x3101, effects: {0x2301: "0FFF"}}
        dtcs:
          - {code: 0xC10001, status: 0x08}
          - {code: 0x900B11, status: 0x09, permanent: true}
"#;

pub(crate) fn spec() -> EcuSpec {
    parse_vehicles(VEHICLE).unwrap().vehicles.remove(0).ecus.remove(0)
}

pub(crate) fn image() -> Vec<u8> {
    build_image("A0009051234", "2.1.0", 1000, 3).unwrap()
}

pub(crate) struct Bench {
    pub(crate) ecu: Ecu,
    pub(crate) now: Duration,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::of(spec())
    }

    pub(crate) fn of(spec: EcuSpec) -> Self {
        Self {
            ecu: Ecu::new(VIN, spec, None, 1),
            now: Duration::from_secs(1),
        }
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    pub(crate) fn react(&mut self, request: &[u8]) -> Reaction {
        let reaction = self.ecu.handle(request, false, self.now);
        // The tester waits for the last answer.
        self.now += reaction
            .replies
            .last()
            .map_or(Duration::ZERO, |reply| reply.after);
        reaction
    }

    /// The final answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.react(request)
            .replies
            .pop()
            .map(|reply| reply.bytes)
            .unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn good(&mut self, request: &[u8]) -> Vec<u8> {
        let answer = self.ask(request);
        assert_eq!(
            answer.first(),
            Some(&(request[0] | 0x40)),
            "{request:02x?} was answered {answer:02x?}"
        );
        answer
    }

    #[track_caller]
    pub(crate) fn refused(&mut self, request: &[u8]) -> u8 {
        match self.ask(request)[..] {
            [0x7F, service, nrc] if service == request[0] => nrc,
            ref other => panic!("{request:02x?} was answered {other:02x?}"),
        }
    }

    pub(crate) fn extended(&mut self) -> &mut Self {
        self.good(&[0x10, 0x03]);
        self
    }

    pub(crate) fn programming(&mut self) -> &mut Self {
        self.extended().good(&[0x31, 0x01, 0x02, 0x03]);
        self.good(&[0x10, 0x02]);
        self
    }

    pub(crate) fn unlock(&mut self, level: u8) -> &mut Self {
        let answer = self.good(&[0x27, level]);
        let mut request = vec![0x27, level + 1];
        request.extend(key_of(&SECRET, level, &answer[2..]));
        self.good(&request);
        self
    }

    pub(crate) fn unlocked(&mut self) -> &mut Self {
        self.programming().unlock(0x11)
    }

    pub(crate) fn erased(&mut self) -> &mut Self {
        self.unlocked().good(&[0x2E, 0xF1, 0x5A, b'J']);
        self.good(&[0x31, 0x01, 0xFF, 0x00]);
        self
    }

    pub(crate) fn download_of(&mut self, size: usize) -> &mut Self {
        let mut request = vec![0x34, 0x00, 0x44, 0, 0, 0, 0];
        request.extend(u32::try_from(size).unwrap().to_be_bytes());
        self.good(&request);
        self
    }

    pub(crate) fn downloading(&mut self) -> &mut Self {
        self.erased().download_of(image().len())
    }

    pub(crate) fn transfer(&mut self, image: &[u8]) -> &mut Self {
        for (index, chunk) in image.chunks(128).enumerate() {
            let mut request = vec![0x36, u8::try_from((index + 1) & 0xFF).unwrap()];
            request.extend(chunk);
            self.good(&request);
        }
        self
    }

    pub(crate) fn downloaded(&mut self, image: &[u8]) -> &mut Self {
        self.erased()
            .download_of(image.len())
            .transfer(image)
            .good(&[0x37]);
        self
    }

    pub(crate) fn check(&mut self, image: &[u8]) -> Vec<u8> {
        let mut request = vec![0x31, 0x01, 0x02, 0x02];
        request.extend(uds::crc32(image).to_be_bytes());
        self.good(&request)
    }
}
