//! Chat templates: as transformers renders them, and what hostile ones can do.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::bytes;
use serde_json::{Value, json};
use sotto_models::chat_template::{RENDERED_LIMIT, TEMPLATE_LIMIT};
use sotto_models::random::write_random_folder;
use sotto_models::{ChatTemplate, Folder, Message};
use tempfile::TempDir;

/// Templates, conversations and results, rendered by `_compile_jinja_template` of transformers
/// 5.24.
const CASES: &str = include_str!("data/chat_templates.json");

const SIMPLE: &str = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s1>{% endfor %}\
    {% if add_generation_prompt %}<s>assistant:{% endif %}";

fn render(template: &str) -> Result<String, String> {
    let template = ChatTemplate::parse(template, Some("<s>"), None).map_err(|e| e.to_string())?;
    template.render(&[Message::new("user", "hello")], true).map_err(|e| e.to_string())
}

fn refused(template: &str, word: &str) {
    let message = render(template).expect_err(template);
    assert!(message.contains("chat template") && message.contains(word), "{message}");
    assert!(!message.contains('\n') && message.chars().count() < 500, "{message}");
}

fn model(files: &[(&str, String)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_random_folder(dir.path(), &bytes(), 3).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn opened(dir: &Path) -> ChatTemplate {
    ChatTemplate::open(dir).unwrap().unwrap()
}

#[test]
fn conversations_are_rendered_as_by_transformers() {
    let all: Value = serde_json::from_str(CASES).unwrap();
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let template = case["template"].as_str().unwrap();
        let template =
            ChatTemplate::parse(template, all["bos_token"].as_str(), all["eos_token"].as_str()).unwrap();
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let rendered = template.render(&messages, case["add_generation_prompt"] == true);
        match (&case["expected"], &case["error"]) {
            (Value::String(expected), _) => assert_eq!(&rendered.unwrap(), expected, "{}", case["name"]),
            (_, Value::String(error)) => {
                let message = rendered.unwrap_err().to_string();
                assert!(message.contains(error), "{message}");
            }
            _ => panic!("a case without a result: {case}"),
        }
    }
}

#[test]
fn the_time_is_told() {
    let year: u32 = render("{{ strftime_now('%Y') }}").unwrap().parse().unwrap();
    assert!(year >= 2025);
    assert_eq!(render("{{ strftime_now('%d %B') | length > 5 }}").unwrap().to_lowercase(), "true");
    refused("{{ strftime_now('%Q') }}", "%Q");
}

#[test]
fn failures_are_named() {
    refused("{% for %}", "syntax");
    refused("{{ nothing.here }}", "undefined");
    refused("{{ messages | nofilter }}", "nofilter");
    refused("{{ raise_exception('Only \\n user\\x1b[2J turns') }}", "turns");
    refused("{% include 'other' %}", "");
    refused(&"x".repeat(TEMPLATE_LIMIT + 1), "262145 bytes");
}

/// Every way to grow without end is stopped, and soon.
#[test]
fn hostile_templates_are_bounded() {
    let mut templates: Vec<String> = [
        "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ range(100000000000) | list }}",
        "{% for a in messages recursive %}{{ loop([1]) }}{% endfor %}",
    ]
    .map(str::to_string)
    .into();
    templates.push(format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)));
    templates.push(format!("{{{{ {}1 }}}}", "-".repeat(100_000)));
    templates.push("{% if x %}".repeat(20_000));
    templates.push(format!("{{{{ {}1{} }}}}", "[".repeat(50_000), "]".repeat(50_000)));
    templates.push(format!("{{{{ messages{} }}}}", ".a".repeat(131_000)));
    templates.push(format!("{{{{ 1{} }}}}", "|e".repeat(131_000)));
    templates.push(format!("{{{{ 1{} }}}}", "+1".repeat(131_000)));
    templates.push(format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(21_000)));
    for template in templates {
        let start = std::time::Instant::now();
        let result = render(&template);
        let named: String = template.chars().take(60).collect();
        match result {
            Ok(text) => assert!(text.len() <= RENDERED_LIMIT, "{named}"),
            Err(message) => assert!(message.contains("chat template"), "{named}: {message}"),
        }
        assert!(start.elapsed().as_secs() < 30, "{named}");
    }
}

#[test]
fn a_template_sees_the_messages_and_nothing_else() {
    refused("{% extends '/etc/passwd' %}", "");
    refused("{{ open('/etc/passwd') }}", "unknown");
    assert_eq!(render("{{ __builtins__ }}{{ env }}{{ self }}").unwrap_or_default(), "");
}

#[test]
fn a_folder_has_its_template_in_one_of_three_files() {
    let dir = model(&[]);
    assert!(ChatTemplate::open(dir.path()).unwrap().is_none());
    let folder = Folder::open(dir.path()).unwrap();
    assert!(!folder.is_instruct() && folder.chat_template().is_none() && folder.warnings().is_empty());

    let list = json!([{ "name": "tools", "template": "a" }, { "name": "default", "template": SIMPLE }]);
    let config = |template: Value| {
        let tokens = json!({ "bos_token": "<s>", "eos_token": { "content": "</s>", "lstrip": false } });
        let mut json = tokens;
        json["chat_template"] = template;
        ("tokenizer_config.json", json.to_string())
    };
    let jinja = ("chat_template.jinja", "jinja".to_string());
    let object = ("chat_template.json", json!({ "chat_template": "object" }).to_string());
    for (files, source) in [
        (vec![config(json!(SIMPLE))], SIMPLE),
        (vec![config(list)], SIMPLE),
        (vec![config(json!([{ "name": "only", "template": "one" }]))], "one"),
        (vec![config(json!("other")), object.clone()], "object"),
        (vec![config(json!("other")), object, jinja], "jinja"),
    ] {
        let dir = model(&files);
        let template = opened(dir.path());
        assert_eq!(template.source(), source);
        assert_eq!((template.bos_token(), template.eos_token()), (Some("<s>"), Some("</s>")));
        assert!(Folder::open(dir.path()).unwrap().is_instruct());
    }
    let dir = model(&[config(json!([{ "name": "a", "template": "1" }, { "name": "b", "template": "2" }]))]);
    assert!(ChatTemplate::open(dir.path()).unwrap().is_none());
}

#[test]
fn damaged_files_are_named() {
    let dir = model(&[("tokenizer_config.json", "{".into())]);
    let message = ChatTemplate::open(dir.path()).err().unwrap().to_string();
    assert!(message.contains("tokenizer_config.json") && message.contains("malformed JSON"), "{message}");
    let folder = Folder::open(dir.path()).unwrap();
    assert!(folder.warnings()[0].contains("tokenizer_config.json") && !folder.is_instruct());

    let dir = model(&[("chat_template.jinja", "{% for %}".into())]);
    let folder = Folder::open(dir.path()).unwrap();
    assert!(folder.warnings()[0].contains("chat template") && !folder.is_instruct());
}

/// The template's end of turn is found and ends answers.
#[test]
fn a_turn_ends_with_the_template_s_token() {
    let dir = model(&[
        ("generation_config.json", json!({ "eos_token_id": [2, 9, 999] }).to_string()),
        ("chat_template.jinja", SIMPLE.replace("</s1>", "<s>")),
    ]);
    // `<s>`, id 1, is the only special token that the template writes.
    let folder = Folder::open(dir.path()).unwrap();
    assert_eq!(folder.config().eos_token_ids, [2, 9, 1]);
    assert!(folder.warnings()[0].contains("999"));
    let template = folder.chat_template().unwrap();
    assert_eq!(template.end_of_turn(folder.tokenizer()), Some(1));
    let text = template.render(&[Message::new("user", "hi")], true).unwrap();
    assert_eq!(text, "<s>user: hi<s><s>assistant:");
    let ids = folder.tokenizer().encode_rendered(&text, 99).unwrap();
    assert_eq!(ids.iter().filter(|&&id| id == 1).count(), 3);
    assert_eq!(folder.tokenizer().encode(&text, 99).unwrap(), ids);

    let plain = ChatTemplate::parse("{{ messages[0].content }}", None, None).unwrap();
    assert_eq!(plain.end_of_turn(folder.tokenizer()), None);
}
