//! The numbers in README.md are written by a program: it changes what is between two marks and nothing else, and writes
//! nothing where a figure is missing.

use std::fs;
use std::path::Path;

#[path = "../../examples/numbers/table.rs"]
mod table;

use table::{made_up, numbers, put};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn only_what_is_between_the_marks_is_written() {
    let before = readme();
    let text = numbers(&made_up(true), "a machine").unwrap();
    let after = put(&before, &text).unwrap();
    assert!(after.contains("from one run: a machine.\nMedians of 15 rounds"));
    // Again with nothing: what was around the marks is what is left of both.
    let bare = |text: &str| put(text, "").unwrap();
    assert_eq!(bare(&after), bare(&before));
    assert!(bare(&before).len() < before.len());
    assert!(bare(&before).contains("## What it guarantees"));
    assert_eq!(put(&after, &text).unwrap(), after);
}

#[test]
fn figures_are_shown_with_what_is_asked_of_them() {
    let text = numbers(&made_up(false), "").unwrap();
    for line in [
        "| read | 1.25 (1.00 to 1.50) | <= 1.2, missed |",
        "| after a clean close | 1.2 us (1.0 us to 1.5 us) | <= 2.00 ms, missed |",
        "| after opening, anonymous | 3.5 MiB | <= 4 MiB, missed |",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!numbers(&made_up(true), "").unwrap().contains("missed"));
}

#[test]
fn each_missing_figure_is_an_error() {
    let all = made_up(true);
    let lines: Vec<&str> = all.lines().collect();
    assert!(lines.len() > 40);
    for at in 0..lines.len() {
        let mut rest = lines.clone();
        rest.remove(at);
        let said = numbers(&rest.join("\n"), "").unwrap_err();
        let gone: serde_json::Value = serde_json::from_str(lines[at]).unwrap();
        assert!(said.contains(gone["question"].as_str().unwrap()), "{said}");
    }
}

#[test]
fn marks_must_be_there_once_and_in_order() {
    let (begin, end) = (
        "<!-- numbers: sh benches/readme.sh -->",
        "<!-- numbers end -->",
    );
    for bad in [
        String::new(),
        begin.to_owned(),
        format!("{end}{begin}"),
        format!("{begin}{end}{end}"),
    ] {
        assert!(put(&bad, "text").is_err(), "{bad}");
    }
    assert_eq!(
        put(&format!("a{begin}old{end}b"), "text\n").unwrap(),
        format!("a{begin}\ntext\n{end}b")
    );
}
