//! Images of the simulated control units: a header that names part and version, then bytes.

const MAGIC: &[u8; 8] = b"VDSIMG01";
const FIELD: usize = 24;
const HEADER: usize = MAGIC.len() + FIELD + FIELD;

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Part number of the control unit that it is for.
    pub part: String,
    /// Its version.
    pub version: String,
}

/// Why bytes are no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// They do not begin as one.
    #[error("the bytes do not begin with the header of an image")]
    Header,
    /// Part or version is longer than 24 bytes or the image is shorter than its header.
    #[error("part and version have at most 24 bytes each, the image has at least {HEADER}")]
    Size,
}

impl Image {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ImageError::Header`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let header = bytes.get(..HEADER).ok_or(ImageError::Header)?;
        let rest = header.strip_prefix(MAGIC).ok_or(ImageError::Header)?;
        let (part, version) = rest.split_at(FIELD);
        let text = |field: &[u8]| {
            core::str::from_utf8(field)
                .map(|text| text.trim_end_matches('\0').to_owned())
                .map_err(|_| ImageError::Header)
        };
        Ok(Self {
            part: text(part)?,
            version: text(version)?,
        })
    }
}

/// Makes an image of `size` bytes whose content follows from `seed`.
///
/// # Errors
/// [`ImageError::Size`].
pub fn build_image(part: &str, version: &str, size: usize, seed: u64) -> Result<Vec<u8>, ImageError> {
    if part.len() > FIELD || version.len() > FIELD || size < HEADER {
        return Err(ImageError::Size);
    }
    let mut bytes = MAGIC.to_vec();
    for text in [part, version] {
        bytes.extend(text.as_bytes());
        bytes.extend(core::iter::repeat_n(0, FIELD - text.len()));
    }
    let mut state = seed;
    while bytes.len() < size {
        bytes.extend(split_mix(&mut state).to_be_bytes());
    }
    bytes.truncate(size);
    Ok(bytes)
}

/// `SplitMix64`: small, and the same on every machine.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_what_it_was_built_for() {
        let bytes = build_image("A0009051234", "2.1.0", 4096, 7).unwrap();
        assert_eq!(bytes.len(), 4096);
        let image = Image::parse(&bytes).unwrap();
        assert_eq!(
            image,
            Image {
                part: "A0009051234".to_owned(),
                version: "2.1.0".to_owned()
            }
        );
        assert_ne!(bytes, build_image("A0009051234", "2.1.0", 4096, 8).unwrap());
    }

    #[test]
    fn other_bytes_are_no_image() {
        assert_eq!(Image::parse(b"VDSIMG01"), Err(ImageError::Header));
        assert_eq!(Image::parse(&[0; 100]), Err(ImageError::Header));
        assert_eq!(build_image("A0009051234", "2.1.0", 10, 0), Err(ImageError::Size));
    }
}
