//! Writes `protocol/tables`: `cargo run -p sotto-protocol --example generate_tables`.

use sotto_protocol::Precision;

fn main() -> std::io::Result<()> {
    for (precision, name) in [(Precision::Default, "segments"), (Precision::High, "segments-high")] {
        let path = format!("{}/tables/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = serde_json::to_string(&sotto_protocol::fit::all(precision)).expect("tables serialise");
        std::fs::write(path, text + "\n")?;
    }
    Ok(())
}
