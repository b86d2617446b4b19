//! Writes the JSON Schema of the procedure format into the folder given.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("generate FOLDER, such as docs/schemas")?;
    let mut text = serde_json::to_string_pretty(&procedure::schema())?;
    text.push('\n');
    std::fs::write(Path::new(&folder).join("procedure.schema.json"), text)?;
    Ok(())
}
