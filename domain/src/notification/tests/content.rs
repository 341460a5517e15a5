//! The limits of what a notification says, at each edge and one beyond it. Characters count, not bytes.

use serde_json::json;

use crate::notification::{Category, Content, InvalidContent, Priority, Tags, Templated, Words};
use crate::template::TemplateKey;

/// One character of four bytes.
const WIDE: &str = "💶";

fn content(title: &str, action_url: Option<&str>) -> Result<Words, InvalidContent> {
    Words::new(title.into(), "body".into(), action_url.map(Into::into))
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(
    parsed: Result<T, InvalidContent>,
    pointer: &str,
    detail: &'static str,
) {
    assert_eq!(parsed.unwrap_err(), InvalidContent { pointer: pointer.into(), detail });
}

#[test]
fn a_title_has_1_to_1000_characters() {
    for title in ["x".into(), WIDE.into(), "x".repeat(1_000), WIDE.repeat(1_000)] {
        assert_eq!(content(&title, None).unwrap().title, title);
    }
    for title in [String::new(), "x".repeat(1_001), WIDE.repeat(1_001)] {
        assert_refused(content(&title, None), "/content/title", "must have 1 to 1,000 characters");
    }
}

#[test]
fn a_body_may_be_empty_or_long_or_have_lines() {
    for body in [String::new(), "line\nline\t".into(), WIDE.repeat(100_000)] {
        assert_eq!(Words::new("t".into(), body.clone(), None).unwrap().body, body);
    }
}

#[test]
fn an_action_url_has_1_to_2048_characters() {
    for url in ["/".into(), format!("/{}", "x".repeat(2_047)), WIDE.repeat(2_048)] {
        assert_eq!(content("t", Some(&url)).unwrap().action_url, Some(url));
    }
    for url in [String::new(), "x".repeat(2_049), WIDE.repeat(2_049)] {
        let detail = "must have 1 to 2,048 characters";
        assert_refused(content("t", Some(&url)), "/content/action_url", detail);
    }
}

#[test]
fn an_action_url_has_no_white_space_and_no_control_characters() {
    for url in [" ", "/a b", "\thttps://x.example", "https://x.example\n", "/a\u{0}", "/a\u{7f}", "/a\u{a0}b"]
    {
        let detail = "must not contain white space or control characters";
        assert_refused(content("t", Some(url)), "/content/action_url", detail);
    }
}

#[test]
fn an_action_url_does_not_run_code_whatever_the_case_of_its_scheme() {
    for url in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "JAVASCRIPT://x.example/%0aalert(1)",
        "javascript:",
        "data:text/html,<script>alert(1)</script>",
        "dAtA:,x",
        "vbscript:msgbox(1)",
        "VBScript:x",
    ] {
        assert_refused(
            content("t", Some(url)),
            "/content/action_url",
            "must not use a scheme that runs code",
        );
    }
}

#[test]
fn a_scheme_hidden_behind_white_space_is_refused_for_the_white_space() {
    for url in [" javascript:alert(1)", "java\tscript:alert(1)", "\u{1}javascript:alert(1)", "java\nscript:x"]
    {
        let detail = "must not contain white space or control characters";
        assert_refused(content("t", Some(url)), "/content/action_url", detail);
    }
}

#[test]
fn other_schemes_and_relative_links_are_fine() {
    for url in [
        "https://app.example/invoices/42?from=bell#top",
        "mailto:ada@example.com",
        "myapp://invoices/42",
        "/data:1",
        "/javascript",
        "?next=javascript:1",
        "#data:",
        "javascripts:x",
        "https://ü.example/💶",
    ] {
        assert_eq!(content("t", Some(url)).unwrap().action_url.as_deref(), Some(url));
    }
}

#[test]
fn a_relative_link_is_not_taken_for_a_scheme() {
    for url in ["data", "data/42", "data?x=1", "javascript#top", "data/a:b"] {
        assert_eq!(content("t", Some(url)).unwrap().action_url.as_deref(), Some(url));
    }
}

const LABEL: &str = "must have 1 to 64 characters, none of them a control character";

#[test]
fn a_category_has_1_to_64_characters_without_controls() {
    for text in ["x".into(), "two words".into(), "x".repeat(64), WIDE.repeat(64)] {
        assert_eq!(Category::new(text.clone()).unwrap().as_str(), text);
    }
    for text in [String::new(), "x".repeat(65), WIDE.repeat(65), "a\nb".into(), "a\u{85}".into()] {
        assert_refused(Category::new(text), "/category", LABEL);
    }
}

#[test]
fn a_tag_has_the_shape_of_a_category_and_a_refusal_points_at_it() {
    for text in ["x".into(), "x".repeat(64), WIDE.repeat(64)] {
        assert_eq!(Tags::new(vec![text.clone()]).unwrap().as_slice(), [text]);
    }
    for text in [String::new(), "x".repeat(65), WIDE.repeat(65), "\u{7f}".into()] {
        assert_refused(Tags::new(vec!["fine".into(), text]), "/tags/1", LABEL);
    }
}

#[test]
fn there_are_at_most_20_tags_in_the_order_given() {
    let tags = |count: usize| (0..count).rev().map(|i| format!("t{i}")).collect::<Vec<_>>();
    assert_eq!(Tags::new(tags(20)).unwrap().as_slice(), tags(20));
    assert_refused(Tags::new(tags(21)), "/tags", "must have at most 20 members");
    assert!(Tags::new(vec![]).unwrap().is_empty());
    assert!(!Tags::new(tags(1)).unwrap().is_empty());
}

#[test]
fn no_tag_stands_twice_and_case_makes_a_difference() {
    let tags = |texts: [&str; 3]| Tags::new(texts.map(Into::into).to_vec());
    assert_refused(tags(["a", "b", "a"]), "/tags/2", "must not repeat another tag");
    assert_eq!(tags(["a", "b", "A"]).unwrap().as_slice(), ["a", "b", "A"]);
}

#[test]
fn an_invalid_part_says_where_and_why() {
    let error = Category::new(String::new()).unwrap_err();
    assert_eq!(error.to_string(), format!("/category: {LABEL}"));
}

#[test]
fn a_priority_is_normal_unless_said_and_has_one_spelling() {
    use Priority::{High, Low, Normal, Urgent};
    assert_eq!(Priority::default(), Normal);
    assert!(Low < Normal && Normal < High && High < Urgent);
    for priority in [Low, Normal, High, Urgent] {
        assert_eq!(json!(priority), json!(priority.as_str()));
    }
}

#[test]
fn a_template_has_an_action_url_of_the_same_kind() {
    let with = |url: &str| {
        Templated::new(TemplateKey::new("a".into()).unwrap(), 1, serde_json::Map::new(), Some(url.into()))
    };
    assert_eq!(with("/x").unwrap().action_url.as_deref(), Some("/x"));
    let detail = "must not use a scheme that runs code";
    assert_refused(with("javascript:alert(1)"), "/template/action_url", detail);
}

#[test]
fn content_is_words_or_a_template_and_never_both() {
    let read = |content: serde_json::Value| serde_json::from_value::<Content>(content);
    let words = json!({"title": "a", "body": "b"});
    let template = json!({"template": {"key": "a", "version": 1, "args": {"n": 1}}});
    for content in [&words, &template] {
        assert_eq!(serde_json::to_value(read(content.clone()).unwrap()).unwrap(), *content);
    }
    for neither in [
        json!({}),
        json!({"title": "a"}),
        json!({"title": "a", "body": "b", "template": template["template"]}),
        json!({"template": {"key": "a", "args": {}}}),
    ] {
        assert!(read(neither.clone()).is_err(), "{neither}");
    }
}
