//! Which texts are a tenant, a user id or a notification id, and which only look like one.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use serde_json::json;
use uuid::{Uuid, uuid};

use super::{InvalidIdentity, NotificationId, RecipientId, TemplateId, Tenant, UserId};
use crate::template::TemplateKey;

const ID: Uuid = uuid!("01980a5c-7d3e-7abc-8def-0123456789ab");

fn tenant(text: &str) -> Result<Tenant, InvalidIdentity> {
    Tenant::try_from(text.to_owned())
}

fn user(text: &str) -> Result<UserId, InvalidIdentity> {
    UserId::try_from(text.to_owned())
}

#[test]
fn a_tenant_is_1_to_63_characters_of_a_dns_label() {
    for text in ["a", "0", "-", "acme-2", "default", &"x".repeat(63)] {
        assert_eq!(tenant(text).unwrap().as_str(), text);
    }
}

#[test]
fn any_other_text_is_no_tenant() {
    for text in ["", &"x".repeat(64), "Acme", "a_b", "a.b", "a b", " a", "a\n", "a/b", "ä", "\u{0}"] {
        let error = tenant(text).unwrap_err();
        assert_eq!(error.to_string(), "a tenant is 1 to 63 characters of a-z, 0-9 and -", "{text:?}");
    }
}

#[test]
fn the_default_tenant_is_a_tenant() {
    assert_eq!(Tenant::default_tenant(), tenant("default").unwrap());
}

#[test]
fn a_user_id_is_1_to_256_characters_however_wide() {
    for text in ["x", " ", "ada@example.com", "auth0|7", "💶", &"x".repeat(256), &"💶".repeat(256)] {
        assert_eq!(user(text).unwrap().as_str(), text);
    }
}

#[test]
fn any_other_text_is_no_user_id() {
    for text in ["", &"x".repeat(257), &"💶".repeat(257), "a\nb", "\u{0}", "a\u{7f}", "a\u{85}"] {
        let error = user(text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a user id is 1 to 256 characters without control characters",
            "{text:?}"
        );
    }
}

#[test]
fn tenants_and_user_ids_survive_text_and_json() {
    let acme = tenant("acme-2").unwrap();
    assert_eq!(tenant(&acme.to_string()).unwrap(), acme);
    assert_eq!(String::from(acme.clone()), "acme-2");
    assert_eq!(json!(acme), json!("acme-2"));
    assert_eq!(serde_json::from_value::<Tenant>(json!("acme-2")).unwrap(), acme);

    let ada = user("Ada 💶").unwrap();
    assert_eq!(user(&ada.to_string()).unwrap(), ada);
    assert_eq!(String::from(ada.clone()), "Ada 💶");
    assert_eq!(json!(ada), json!("Ada 💶"));
    assert_eq!(serde_json::from_value::<UserId>(json!("Ada 💶")).unwrap(), ada);
}

#[test]
fn json_does_not_get_around_the_rules() {
    assert!(serde_json::from_value::<Tenant>(json!("ACME")).is_err());
    assert!(serde_json::from_value::<UserId>(json!("a\nb")).is_err());
    assert!(serde_json::from_value::<NotificationId>(json!(ID)).is_err());
}

#[test]
fn a_notification_id_survives_text_and_json() {
    let id = NotificationId::new(ID);
    let text = "ntf_01980a5c-7d3e-7abc-8def-0123456789ab";
    assert_eq!(id.uuid(), ID);
    assert_eq!(id.to_string(), text);
    assert_eq!(String::from(id), text);
    assert_eq!(text.parse::<NotificationId>().unwrap(), id);
    assert_eq!(NotificationId::try_from(text.to_owned()).unwrap(), id);
    assert_eq!(json!(id), json!(text));
    assert_eq!(serde_json::from_value::<NotificationId>(json!(text)).unwrap(), id);
}

#[test]
fn an_id_has_one_spelling() {
    for text in [
        "",
        "ntf_",
        "01980a5c-7d3e-7abc-8def-0123456789ab",
        "ntf-01980a5c-7d3e-7abc-8def-0123456789ab",
        "NTF_01980a5c-7d3e-7abc-8def-0123456789ab",
        "brd_01980a5c-7d3e-7abc-8def-0123456789ab",
        "ntf_ntf_01980a5c-7d3e-7abc-8def-0123456789ab",
        "ntf_01980A5C-7D3E-7ABC-8DEF-0123456789AB",
        "ntf_01980a5c-7d3e-7abc-8def-0123456789aB",
        "ntf_01980a5c7d3e7abc8def0123456789ab",
        "ntf_{01980a5c-7d3e-7abc-8def-0123456789ab}",
        "ntf_urn:uuid:01980a5c-7d3e-7abc-8def-0123456789ab",
        "ntf_01980a5c-7d3e-7abc-8def-0123456789a",
        "ntf_01980a5c-7d3e-7abc-8def-0123456789abc",
        "ntf_01980a5c-7d3e-7abc-8def-0123456789ag",
        " ntf_01980a5c-7d3e-7abc-8def-0123456789ab",
        "ntf_01980a5c-7d3e-7abc-8def-0123456789ab\n",
    ] {
        let error = text.parse::<NotificationId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a notification id is ntf_ followed by a UUID in lower case",
            "{text:?}"
        );
    }
}

#[test]
fn a_broadcast_id_has_one_spelling_too() {
    let text = "brd_01980a5c-7d3e-7abc-8def-0123456789ab";
    let id: crate::BroadcastId = text.parse().unwrap();
    assert_eq!((id.to_string(), json!(id)), (text.to_owned(), json!(text)));
    for text in
        ["", "brd_", "ntf_01980a5c-7d3e-7abc-8def-0123456789ab", "brd_01980A5C-7D3E-7ABC-8DEF-0123456789AB"]
    {
        assert!(text.parse::<crate::BroadcastId>().is_err(), "{text:?}");
    }
}

#[test]
fn ids_sort_as_their_texts_do() {
    let later = NotificationId::new(uuid!("01980a5c-7d3f-7000-8000-000000000000"));
    let earlier = NotificationId::new(ID);
    assert!(earlier < later && earlier.to_string() < later.to_string());
}

fn recipient(tenant: &str, user: &str) -> RecipientId {
    RecipientId { tenant: tenant.to_owned().try_into().unwrap(), user: user.to_owned().try_into().unwrap() }
}

#[test]
fn a_recipient_id_tells_the_tenant_from_the_user() {
    assert_eq!(recipient("acme", "ada").to_string(), "rcp_4:acmeada");
    for id in [
        recipient("acme", "ada"),
        recipient("acmea", "da"),
        recipient("a", "4:acmeada"),
        recipient("a", "💶"),
    ] {
        assert_eq!(id.to_string().parse::<RecipientId>().unwrap(), id);
    }
    for text in [
        "",
        "rcp_",
        "rcp_4:",
        "rcp_4:acme",
        "rcp_04:acmeada",
        "rcp_+4:acmeada",
        "rcp_99:acmeada",
        "ntf_4:acmeada",
    ] {
        assert!(text.parse::<RecipientId>().is_err(), "{text:?}");
    }
}

#[test]
fn a_template_id_tells_the_tenant_from_the_key() {
    let id = TemplateId {
        tenant: tenant("acme").unwrap(),
        key: TemplateKey::new("invoice.ready".into()).unwrap(),
    };
    assert_eq!(id.to_string(), "tpl_4:acmeinvoice.ready");
    assert_eq!(id.to_string().parse::<TemplateId>().unwrap(), id);
    for text in ["tpl_4:acme", "tpl_4:acmeInvoice", "tpl_04:acmea", "rcp_4:acmea", "tpl_4acmea"] {
        assert!(text.parse::<TemplateId>().is_err(), "{text:?}");
    }
}
