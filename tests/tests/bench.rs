//! The measuring tool: its names, its refusals, and one small case.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).output().expect("the tool starts")
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn list_names_every_case_and_marks_those_without_a_protocol() {
    let output = bench(&["list"]);
    assert!(output.status.success());
    let lines = lines(&output);
    assert_eq!(lines.len(), 57);
    for line in
        ["setup/session", "linear/128x768x768", "block/llama-768/32", "layer/llama-7b/1 (not written yet)"]
    {
        assert!(lines.iter().any(|l| l == line), "{line}");
    }
}

#[test]
fn what_cannot_be_measured_says_so_by_name() {
    for (case, why) in [("layer/llama-7b/1", "not written yet"), ("soup/12", "unknown case")] {
        let output = bench(&[case]);
        assert!(!output.status.success());
        let line: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
        assert_eq!(line["case"], case);
        assert_eq!(line["ok"], false);
        assert!(line["error"].as_str().unwrap().contains(why));
        assert!(String::from_utf8(output.stderr).unwrap().contains(case));
    }
}

#[test]
fn a_case_is_measured_and_checked() {
    let output = bench(&["exp/16384", "--repeat", "1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
    let fields = [
        "seconds",
        "seconds_offline",
        "seconds_online",
        "cpu_client",
        "cpu_server",
        "bytes_client",
        "bytes_server",
        "bytes_offline",
        "bytes_online",
        "turns_offline",
        "turns_online",
        "bits_per_element",
        "max_abs_error",
        "mean_abs_error",
        "peak_rss_client",
        "peak_rss_server",
    ];
    for field in fields {
        assert!(line[field].as_f64().is_some_and(|x| x > 0.0), "{field}: {line}");
    }
    assert_eq!((&line["case"], &line["link"]), (&"exp/16384".into(), &"loopback".into()));
    assert_eq!((&line["schedule"], &line["precision"]), (&"throughput".into(), &"default".into()));
    assert_eq!((line["threads"].as_u64(), line["repeat"].as_u64()), (Some(1), Some(1)));
    let sum = |a: &str, b: &str| line[a].as_u64().unwrap() + line[b].as_u64().unwrap();
    assert_eq!(sum("bytes_client", "bytes_server"), sum("bytes_offline", "bytes_online"));
    assert_eq!(line["bytes_online"], line["bytes_online_stated"]);
    assert_eq!(
        (line["bytes_online_beyond"].as_i64(), line["turns_online_stated"].as_u64()),
        (Some(0), Some(7))
    );
    // COTs come by the million, and some of an earlier run's are left.
    let made =
        line["bytes_offline_stated"].as_i64().unwrap() + line["bytes_offline_beyond"].as_i64().unwrap();
    assert_eq!(Some(made), line["bytes_offline"].as_i64());
    assert!(line["bytes_offline_beyond"].as_i64().unwrap().abs() < 600_000);
    assert_eq!(line["ok"], true);
}

#[test]
fn blocks_are_right_by_either_schedule() {
    for schedule in ["throughput", "latency"] {
        for case in ["block/llama-768/3", "block/bert-base/3"] {
            let output = bench(&[case, "--repeat", "1", "--schedule", schedule]);
            let line: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
            assert_eq!(line["ok"], true, "{line}");
        }
    }
}

#[test]
fn either_schedule_sends_what_the_formulas_say() {
    for schedule in ["throughput", "latency"] {
        for case in ["compare/3000", "reciprocal/300", "softmax/2x3x40", "rms_norm/3x100", "gelu/3x99"] {
            let output = bench(&[case, "--repeat", "1", "--schedule", schedule]);
            let line: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
            assert_eq!(line["bytes_online_beyond"].as_i64(), Some(0), "{line}");
            assert_eq!(line["ok"], true, "{line}");
        }
    }
}
