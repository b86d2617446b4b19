//! The key of a seed: the first eight bytes of HMAC-SHA256 (RFC 2104) over the level and the seed.

use sha2::{Digest, Sha256};

const BLOCK: usize = 64;

/// The key that unlocks `level` after `seed`.
pub fn key_of(secret: &[u8], level: u8, seed: &[u8]) -> [u8; 8] {
    let mut message = vec![level];
    message.extend(seed);
    let mac = hmac_sha256(secret, &message);
    let mut key = [0; 8];
    for (to, from) in key.iter_mut().zip(mac) {
        *to = from;
    }
    key
}

fn hmac_sha256(secret: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    let hashed;
    let secret = if secret.len() > BLOCK {
        hashed = Sha256::digest(secret);
        hashed.as_slice()
    } else {
        secret
    };
    for (to, from) in block.iter_mut().zip(secret) {
        *to = *from;
    }
    let pad = |byte: u8| block.map(|one| one ^ byte);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5C))
        .chain_update(inner)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_that_of_rfc_4231() {
        let mac = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(
            hex::encode(mac),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let long = hmac_sha256(
            &[0xAA; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
        );
        assert_eq!(
            hex::encode(long),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn level_and_seed_both_make_the_key() {
        let key = key_of(&[1; 16], 0x11, &[2; 8]);
        assert_ne!(key, key_of(&[1; 16], 0x01, &[2; 8]));
        assert_ne!(key, key_of(&[1; 16], 0x11, &[3; 8]));
    }
}
