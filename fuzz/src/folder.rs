//! A folder of files as one input: per file the length of its name (u8), the name, the length of its content (u16,
//! little-endian), the content. What is cut short counts as far as it goes.

/// Most files taken from one input.
const MOST_FILES: usize = 32;

/// The files of an input; the first of two with one name.
pub(crate) fn unpack(mut data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some((len, rest)) = data.split_first()
        && files.len() < MOST_FILES
    {
        let (name, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        let (size, rest) = rest.split_at(rest.len().min(2));
        let size = size
            .iter()
            .rev()
            .fold(0, |size, byte| size << 8 | usize::from(*byte));
        let (content, rest) = rest.split_at(rest.len().min(size));
        data = rest;
        let name = String::from_utf8_lossy(name).into_owned();
        if !name.is_empty() && files.iter().all(|(known, _)| *known != name) {
            files.push((name, content.to_vec()));
        }
    }
    files
}
