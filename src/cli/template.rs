//! `tidings template`: checks templates that are kept as files, and publishes them.
//!
//! A folder holds a folder per template, named with its key; that holds `template.toml` and a Fluent source per locale, such as
//! `de-AT.ftl`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_domain::recipient::Locale;
use tidings_domain::template::{ArgumentType, TemplateKey, Version};

use super::{Failure, failure};
use crate::outgoing;
use crate::render::{Compiled, place};

const DESCRIPTION: &str = "template.toml";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
pub enum TemplateWord {
    /// Say what is wrong with the templates in a folder, as path:line:column: words
    Check(CheckArgs),
    /// Check the templates in a folder, and publish those that say something new
    Push(PushArgs),
}

#[derive(Args)]
pub struct CheckArgs {
    /// A folder with a folder per template: <KEY>/template.toml and <KEY>/<LOCALE>.ftl
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

#[derive(Args)]
pub struct PushArgs {
    /// A folder with a folder per template: <KEY>/template.toml and <KEY>/<LOCALE>.ftl
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Where the service is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A key with the scope admin
    #[arg(long, env = "TIDINGS_API_KEY", hide_env_values = true)]
    api_key: String,
}

/// What stands beside the sources.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    default_locale: String,
    #[serde(default)]
    arguments: BTreeMap<String, ArgumentType>,
}

/// A template that is sound.
struct Template {
    key: TemplateKey,
    says: Version,
}

impl TemplateWord {
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Check(args) => {
                let count = read(&args.folder)?.len();
                println!("{count} {} sound", if count == 1 { "template is" } else { "templates are" });
                Ok(())
            }
            Self::Push(args) => push(&args).await,
        }
    }
}

async fn push(args: &PushArgs) -> Result<(), Failure> {
    let templates = read(&args.folder)?;
    let client = outgoing::client(REQUEST_TIMEOUT).build().map_err(failure)?;
    for Template { key, says } in templates {
        let url = format!("{}/v1/templates/{key}", args.url.trim_end_matches('/'));
        let put =
            client.put(url).header("x-api-key", &args.api_key).header("content-type", "application/json");
        let body = json!({
            "default_locale": says.default_locale, "sources": says.sources, "arguments": says.arguments
        });
        let failed = |error| format!("{key} was not published: {}", outgoing::reason(error));
        let answer = put.body(body.to_string()).send().await.map_err(failed)?;
        let status = answer.status();
        let answer: Value = serde_json::from_str(&answer.text().await.map_err(failed)?).unwrap_or_default();
        if !status.is_success() {
            let why = answer["detail"].as_str().unwrap_or_default();
            return Err(format!("{key} was not published: {} {why}", status.as_u16()));
        }
        println!("{key} is at version {}", answer["version"]);
    }
    Ok(())
}

/// All templates of a folder; fails with all that is wrong, a line each.
fn read(folder: &Path) -> Result<Vec<Template>, Failure> {
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir());
    let (described, others): (Vec<_>, Vec<_>) = folders.partition(|path| path.join(DESCRIPTION).exists());
    let (mut templates, mut faults) = (Vec::new(), Vec::new());
    for folder in others {
        if entries(&folder)?.iter().any(|path| is_source(path)) {
            faults.push(format!("{}: has sources, and no {DESCRIPTION}", folder.display()));
        }
    }
    if described.is_empty() && faults.is_empty() {
        return Err(format!("{}: no folder in it has a {DESCRIPTION}", folder.display()));
    }
    for folder in described {
        match read_one(&folder) {
            Ok(template) => templates.push(template),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() { Ok(templates) } else { Err(faults.join("\n")) }
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "ftl")
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(told)?.collect();
    let mut paths: Vec<PathBuf> = entries.map_err(told)?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn read_one(folder: &Path) -> Result<Template, Vec<Failure>> {
    let at = |path: &Path, words: &dyn std::fmt::Display| vec![format!("{}: {words}", path.display())];
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let key = TemplateKey::new(name.to_owned()).map_err(|error| at(folder, &error.detail))?;
    let path = folder.join(DESCRIPTION);
    let text = fs::read_to_string(&path).map_err(|error| at(&path, &error))?;
    let described: Description = toml::from_str(&text).map_err(|error| match error.span() {
        Some(span) => {
            let (line, column) = place(&text, span.start);
            vec![format!("{}:{line}:{column}: {}", path.display(), error.message())]
        }
        None => at(&path, &error.message()),
    })?;
    let default = Locale::new(described.default_locale).map_err(|error| at(&path, &error.detail))?;
    let (mut sources, mut files) = (BTreeMap::new(), BTreeMap::new());
    for file in entries(folder).map_err(|error| vec![error])? {
        if !is_source(&file) {
            continue;
        }
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let locale = Locale::new(stem.to_owned()).map_err(|error| at(&file, &error.detail))?;
        let source = fs::read_to_string(&file).map_err(|error| at(&file, &error))?;
        sources.insert(locale.clone(), source);
        files.insert(locale.as_str().to_owned(), file);
    }
    let says = Version::new(default, sources, described.arguments).map_err(|error| at(&path, &error))?;
    Compiled::checked(says.clone()).map_err(|flaws| {
        let told = |flaw: &crate::render::Flaw| {
            let file = files.get(&flaw.locale).unwrap_or(&path);
            format!("{}:{}:{}: {}", file.display(), flaw.line, flaw.column, flaw.words)
        };
        flaws.iter().map(told).collect::<Vec<_>>()
    })?;
    Ok(Template { key, says })
}
