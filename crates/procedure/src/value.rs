//! Bytes, values and limits.

use crate::plan::{Decode, Limits, ReadSpec};
use crate::report::{Measurement, Outcome, Value};

/// Share of the range next to a limit that counts as marginal.
const MARGIN: f64 = 0.05;

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    ::hex::encode(bytes)
}

/// Bytes of hexadecimal digits; spaces between bytes are allowed.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.split_whitespace().collect();
    ::hex::decode(digits).ok()
}

/// Text without the zeros and spaces that fill an identifier.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches(['\0', ' '])
        .to_owned()
}

/// A value as bytes, `None` when it does not fit.
pub(crate) fn encode(encode: Decode, text: &str) -> Option<Vec<u8>> {
    let width = match encode {
        Decode::Ascii => return Some(text.as_bytes().to_vec()).filter(|bytes| !bytes.is_empty()),
        Decode::Hex => return unhex(text).filter(|bytes| !bytes.is_empty()),
        Decode::U8 | Decode::I8 => 1,
        Decode::U16 | Decode::I16 => 2,
        Decode::U32 | Decode::I32 => 4,
    };
    let number: i64 = text.parse().ok()?;
    let (low, high) = match encode {
        Decode::U8 | Decode::U16 | Decode::U32 => (0, (1_i64 << (width * 8)) - 1),
        _ => (-(1_i64 << (width * 8 - 1)), (1_i64 << (width * 8 - 1)) - 1),
    };
    if !(low..=high).contains(&number) {
        return None;
    }
    number.to_be_bytes().get(8 - width..).map(<[u8]>::to_vec)
}

fn number(decode: Decode, bytes: &[u8]) -> Option<f64> {
    Some(match (decode, bytes) {
        (Decode::U8, [a]) => f64::from(*a),
        (Decode::I8, [a]) => f64::from(i8::from_be_bytes([*a])),
        (Decode::U16, [a, b]) => f64::from(u16::from_be_bytes([*a, *b])),
        (Decode::I16, [a, b]) => f64::from(i16::from_be_bytes([*a, *b])),
        (Decode::U32, [a, b, c, d]) => f64::from(u32::from_be_bytes([*a, *b, *c, *d])),
        (Decode::I32, [a, b, c, d]) => f64::from(i32::from_be_bytes([*a, *b, *c, *d])),
        _ => return None,
    })
}

impl Limits {
    /// Whether no end is limited.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the value lies within.
    pub fn contain(&self, value: f64) -> bool {
        self.ge.is_none_or(|limit| value >= limit)
            && self.le.is_none_or(|limit| value <= limit)
            && self.gt.is_none_or(|limit| value > limit)
            && self.lt.is_none_or(|limit| value < limit)
    }

    /// Whether some value lies within.
    pub fn is_possible(&self) -> bool {
        let (Some(low), Some(high)) = (self.ge.or(self.gt), self.le.or(self.lt)) else {
            return true;
        };
        low < high || (low <= high && self.ge.is_some() && self.le.is_some())
    }

    fn is_marginal(&self, value: f64) -> bool {
        let (Some(low), Some(high)) = (self.ge.or(self.gt), self.le.or(self.lt)) else {
            return false;
        };
        let margin = (high - low) * MARGIN;
        self.contain(value) && (value < low + margin || value > high - margin)
    }
}

impl core::fmt::Display for Limits {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let ends = [(">=", self.ge), (">", self.gt), ("<=", self.le), ("<", self.lt)];
        let mut first = true;
        for (sign, limit) in ends {
            if let Some(limit) = limit {
                if !first {
                    f.write_str(" and ")?;
                }
                write!(f, "{sign} {limit}")?;
                first = false;
            }
        }
        Ok(())
    }
}

/// A measurement and, when it is not as it should be, why in words.
pub(crate) struct Judgement {
    pub(crate) measurement: Measurement,
    pub(crate) miss: String,
}

/// Decodes and compares.
pub(crate) fn judge(name: &str, spec: &ReadSpec, equals: Option<&str>, data: &[u8]) -> Judgement {
    let unit = spec.unit.clone();
    let shown = unit.as_deref().unwrap_or_default();
    let (value, good, marginal, miss) = match spec.decode {
        Decode::Ascii | Decode::Hex => {
            let read = if spec.decode == Decode::Ascii {
                text(data)
            } else {
                hex(data)
            };
            let good = equals.is_none_or(|wanted| read == wanted);
            let miss = format!(
                "{:04X} is `{read}` instead of `{}`",
                spec.did,
                equals.unwrap_or_default()
            );
            (Value::Text(read), good, false, miss)
        }
        _ => {
            if let Some(raw) = number(spec.decode, data) {
                let read = round(raw.mul_add(spec.scale, spec.offset));
                let equal = equals.is_none_or(|wanted| wanted.parse() == Ok(read));
                let good = spec.limits.contain(read) && equal;
                let miss = match equals {
                    Some(wanted) => format!("{:04X} is {read} {shown} instead of {wanted}", spec.did),
                    None => format!("{:04X} is {read} {shown}, the limit is {}", spec.did, spec.limits),
                };
                (Value::Number(read), good, spec.limits.is_marginal(read), miss)
            } else {
                let miss = format!(
                    "{:04X} has {} bytes, which is no {:?}",
                    spec.did,
                    data.len(),
                    spec.decode
                );
                (Value::Text(hex(data)), false, false, miss)
            }
        }
    };
    let measurement = Measurement {
        name: name.to_owned(),
        raw: hex(data),
        value,
        unit,
        limits: spec.limits.clone(),
        equals: equals.map(str::to_owned),
        outcome: if good { Outcome::Passed } else { Outcome::Failed },
        marginal,
    };
    Judgement { measurement, miss }
}

/// Takes away what a binary fraction adds to a decimal factor, so that 1250 × 0.01 is 12.5.
fn round(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}
