//! Writes `protocol/tables/segments.json`: `cargo run -p sotto-protocol --example generate_tables`.

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tables/segments.json");
    let text = serde_json::to_string(&sotto_protocol::fit::all()).expect("tables serialise");
    std::fs::write(path, text + "\n")
}
