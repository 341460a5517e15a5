//! The rules of the house that Cargo cannot check, read off the source text. Each test is one rule; when it
//! fails it lists every place as `file:line` and says what to do. The scans are simple on purpose: they rely
//! on rustfmt's layout and know nothing of macros.

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SHELL: &str = "src";
const DOMAIN: &str = "domain/src";
const PROJECTIONS: &str = "projections/src";
const CRATES: [&str; 3] = [SHELL, DOMAIN, PROJECTIONS];
const SOURCES: [&str; 4] = [SHELL, DOMAIN, PROJECTIONS, "tests"];

const FILE_LINES_MAX: usize = 450;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn every_rust_file_opens_by_saying_what_it_is_for() {
    let is_silent = |file: &File| !file.text.starts_with("//!");
    let found = rust(&SOURCES).into_iter().filter(is_silent);
    let advice = "Start the file with `//!`: what it is for and the invariant it keeps.";
    report(found.map(|file| format!("{}:1", file.path)), advice);
}

#[test]
fn no_file_outgrows_one_purpose() {
    let found = rust(&CRATES).into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}:{lines}: {lines} lines", file.path))
    });
    report(found, "Name the second thing it does and give that a file.");
}

#[test]
fn no_function_outgrows_one_purpose() {
    let found = in_each(&CRATES, |file| {
        let mut sizes = functions(&file.code);
        sizes.retain(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        let place = |(line, lines)| format!("{}:{line}: {lines} lines", file.path);
        sizes.into_iter().map(place).collect()
    });
    report(found, "Name the second thing it does and make that a function.");
}

#[test]
fn no_name_is_a_drawer() {
    let drawers = "utils util core helpers helper types common misc";
    let stem = |part: &str| part.split('.').next().unwrap_or("").to_owned();
    let is_drawer = |part: &str| drawers.split(' ').any(|drawer| stem(part) == drawer);
    let mut files = committed();
    // What a generator writes under clients/ is named by the generator.
    files.retain(|file| !lies_in(&file.path, &["clients"]) && file.path.split('/').any(is_drawer));
    let found = files.iter().map(|file| format!("{}:1", file.path));
    report(found, "Name it after the noun it holds or the job it does.");
}

#[test]
fn no_absolute_path_of_one_machine_is_committed() {
    let places = ["/root/", "/tmp/"];
    let starts_one = |line: &str| places.iter().any(|place| starts_a_path(line, place));
    let mut files = committed();
    files.retain(|file| file.path != "Cargo.lock" && !is_test(&file.path));
    let lines = |file: &File| file.lines_where(&file.text, starts_one);
    let found = files.iter().flat_map(lines);
    report(found, "Use a path from the repository or from the configuration.");
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = ["TODO", "FIXME", "XXX", "dbg!", "todo!", "unimplemented!"];
    let is_marked = |line: &str| marks.iter().any(|mark| names(line, mark));
    let found = in_each(&SOURCES, |file| match file.path.as_str() {
        "tests/tidy.rs" => Vec::new(),
        _ => file.lines_where(&file.text, is_marked),
    });
    report(found, "Do it now, or open an issue and remove the mark.");
}

#[test]
fn nothing_unwraps_outside_tests() {
    let unwraps = |line: &str| line.contains(".unwrap()");
    let found = in_each(&CRATES, |file| file.lines_where(&file.code, unwraps));
    report(found, "Use `?`, or `expect` with the invariant that holds.");
}

#[test]
fn sql_is_never_built_from_strings() {
    let found = in_each(&CRATES, |file| {
        let mut literals = formatted_literals(&file.code);
        literals.retain(|(_, literal)| is_sql(literal));
        let place = |(line, _)| format!("{}:{line}", file.path);
        literals.into_iter().map(place).collect()
    });
    report(found, "Write the statement as one literal and bind its values.");
}

#[test]
fn the_domain_is_pure() {
    let crates = ["tokio", "sqlx", "redis", "poem", "poem_openapi", "rand"];
    let paths = ["std::env", "env::", "SystemTime", "Instant::now", "now_utc"];
    let found = in_each(&[DOMAIN], |file| file.naming(&crates, &paths));
    report(found, "Pass time, ids and randomness in with the command.");
}

#[test]
fn projections_know_neither_http_nor_redis_nor_configuration() {
    let crates = ["poem", "poem_openapi", "redis", "jsonwebtoken", "clap"];
    let paths = ["std::env", "env::"];
    let found = in_each(&[PROJECTIONS], |file| file.naming(&crates, &paths));
    report(found, "Serving and configuring the read side belong in src/.");
}

#[test]
fn one_clock_tells_the_time_and_makes_ids() {
    let makers = ["now_utc", "now_local", "SystemTime::now", "now_v7", "new_v4"];
    let found = in_each(&CRATES, |file| match file.path.as_str() {
        "src/clock.rs" => Vec::new(),
        _ => file.naming(&[], &makers),
    });
    report(found, "Take it as an argument; src/clock.rs is where it comes from.");
}

#[test]
fn the_environment_is_read_in_one_place() {
    // The embedded services and the measured one are processes, which get an environment of their own.
    let readers = ["src/config", "src/main", "src/cli", "src/embedded", "src/bench"];
    let found = in_each(&[SHELL], |file| match lies_in(&file.path, &readers) {
        true => Vec::new(),
        false => file.naming(&[], &["std::env", "env::"]),
    });
    report(found, "Read it in src/config and pass the value on.");
}

#[test]
fn each_crate_lists_only_what_it_may_use() {
    let manifests = [
        ("domain", "tokio sqlx redis poem poem-openapi rand"),
        ("projections", "poem poem-openapi redis jsonwebtoken fluent clap"),
    ];
    let found = manifests.into_iter().flat_map(|(folder, forbidden)| {
        let manifest = File::read(&format!("{folder}/Cargo.toml")).expect("each crate has a manifest");
        let breaks = |line: &str| forbidden.split(' ').any(|name| depends_on(line, name));
        manifest.lines_where(&manifest.text, breaks)
    });
    report(found, "domain <- projections <- src: move the code, not the arrow.");
}

// --- files and lines ---

struct File {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
    /// The text with comments and test items blanked; line numbers stay. Empty for a file of tests.
    code: String,
}

impl File {
    /// None for what is not text.
    fn read(path: &str) -> Option<File> {
        let text = String::from_utf8(fs::read(Path::new(ROOT).join(path)).ok()?).ok()?;
        let (path, mut code) = (path.to_owned(), String::new());
        if !is_test(&path) {
            code = without_tests_and_comments(&text);
        }
        Some(File { path, text, code })
    }

    fn lines_where(&self, text: &str, is_broken: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| is_broken(line));
        let place = |(number, line): (usize, &str)| format!("{}:{number}: {}", self.path, line.trim());
        lines.map(place).collect()
    }

    /// Lines of code that name one of the crates (`name::` or `use name`) or one of the paths.
    fn naming(&self, crates: &[&str], paths: &[&str]) -> Vec<String> {
        let uses = crates.iter().flat_map(|name| [format!("{name}::"), format!("use {name}")]);
        let needles: Vec<_> = uses.chain(paths.iter().map(|path| path.to_string())).collect();
        self.lines_where(&self.code, |line| needles.iter().any(|needle| names(line, needle)))
    }
}

/// What `broken` finds in the Rust files under the folders.
fn in_each(folders: &[&str], broken: impl Fn(&File) -> Vec<String>) -> Vec<String> {
    rust(folders).iter().flat_map(broken).collect()
}

fn rust(folders: &[&str]) -> Vec<File> {
    let paths = folders.iter().flat_map(|folder| paths_under(folder, &[]));
    let rust = paths.filter(|path| path.ends_with(".rs"));
    let files: Vec<_> = rust.filter_map(|path| File::read(&path)).collect();
    assert!(!files.is_empty(), "a rule that looks at nothing cannot fail");
    files
}

/// Every text file that .gitignore does not name.
fn committed() -> Vec<File> {
    let ignored = File::read(".gitignore").expect(".gitignore is there").text;
    let names = ignored.lines().map(|line| line.trim().trim_matches('/'));
    let ignored: Vec<_> = names.chain([".git"]).collect();
    let paths = paths_under("", &ignored);
    paths.iter().filter_map(|path| File::read(path)).collect()
}

fn paths_under(folder: &str, ignored: &[&str]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(Path::new(ROOT).join(folder)) else {
        return Vec::new();
    };
    let mut paths = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}").trim_start_matches('/').to_owned();
        if ignored.contains(&name.as_str()) || ignored.contains(&path.as_str()) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => paths.extend(paths_under(&path, ignored)),
            Ok(kind) if kind.is_file() => paths.push(path),
            _ => {}
        }
    }
    paths.sort();
    paths
}

fn is_test(path: &str) -> bool {
    let is_test = |part: &str| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs");
    path.split('/').any(is_test)
}

/// `src/config` owns src/config.rs and everything in src/config/.
fn lies_in(path: &str, owners: &[&str]) -> bool {
    let mut rests = owners.iter().filter_map(|owner| path.strip_prefix(owner));
    rests.any(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[track_caller]
fn report(broken: impl IntoIterator<Item = String>, advice: &str) {
    let broken: Vec<_> = broken.into_iter().collect();
    assert!(broken.is_empty(), "\n{}\n\n{advice}\n", broken.join("\n"));
}

// --- reading Rust, manifests and SQL ---

fn without_tests_and_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        // `://` is in a URL, not a comment.
        let mut slashes = line.match_indices("//").map(|(at, _)| at);
        let comment = slashes.find(|at| !line[..*at].ends_with(':'));
        let is_test = line.trim() == "#[cfg(test)]";
        let kept = if is_test { 0 } else { comment.unwrap_or(line.len()) };
        code.push_str(line[..kept].trim_end());
        code.push('\n');
        if is_test {
            // The item under the attribute ends with `;` on its line or `}` at its indent.
            let end = format!("{}}}", indent(line));
            let is_end = |next: &str| next == end || (next.ends_with(';') && indent(next) == indent(line));
            while lines.next().is_some_and(|next| !is_end(next)) {
                code.push('\n');
            }
            code.push('\n');
        }
    }
    code
}

/// First line and number of lines of every function that has a body.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let lines: Vec<_> = code.lines().collect();
    let find = |from: usize, ends: &dyn Fn(&str) -> bool| (from..lines.len()).find(|&at| ends(lines[at]));
    let starts = (0..lines.len()).filter(|&at| is_function(lines[at]));
    let bodies = starts.filter_map(|first| {
        let signature = find(first, &|line| line.ends_with(['{', '}', ';']))?;
        let end = format!("{}}}", indent(lines[first]));
        let last = find(signature, &|line| line == end)?;
        lines[signature].ends_with('{').then_some((first + 1, last - first + 1))
    });
    bodies.collect()
}

fn is_function(line: &str) -> bool {
    let is_qualifier = |word: &str| {
        matches!(word, "async" | "const" | "unsafe" | "extern" | "\"C\"") || word.starts_with("pub")
    };
    let before = line.split_once("fn ").map(|(before, _)| before);
    before.is_some_and(|words| words.split_whitespace().all(is_qualifier))
}

fn indent(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// Whether `line` holds `needle` as a whole word: no identifier runs on at either side of it.
fn names(line: &str, needle: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(needle).any(|(at, _)| {
        let runs_on = needle.ends_with(is_word) && line[at + needle.len()..].starts_with(is_word);
        !line[..at].ends_with(is_word) && !runs_on
    })
}

/// `"/tmp/x"` starts with the place, `https://example.org/tmp/x` does not.
fn starts_a_path(line: &str, place: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "._-~/})*".contains(c);
    let mut places = line.match_indices(place);
    places.any(|(at, _)| !line[..at].ends_with(goes_on))
}

/// `name = ..`, `name.workspace = true`, `[dependencies.name]`, or under another name.
fn depends_on(line: &str, name: &str) -> bool {
    let line = line.replace(' ', "");
    let rest = line.strip_prefix(name);
    let is_key = rest.is_some_and(|rest| rest.starts_with(['=', '.']));
    let is_table = line.ends_with(&format!("dependencies.{name}]"));
    is_key || is_table || line.contains(&format!("package=\"{name}\""))
}

/// The literal that every `format!` and its kin begins with, and the line of the call. An escaped quote cuts
/// it short, which is near enough.
fn formatted_literals(code: &str) -> Vec<(usize, &str)> {
    let calls = ["format!(", "format_args!(", "write!(", "writeln!("];
    let starts = calls.iter().flat_map(|call| code.match_indices(call));
    let literals = starts.filter_map(|(at, call)| {
        let literal = code[at + call.len()..].split('"').nth(1)?;
        Some((code[..at].matches('\n').count() + 1, literal))
    });
    literals.collect()
}

/// In capitals a keyword is enough; in small letters prose has it too, so the statement's second one counts.
fn is_sql(literal: &str) -> bool {
    let capitals = literal.to_uppercase();
    let has = |first, second| names(literal, first) || (names(&capitals, first) && capitals.contains(second));
    has("SELECT ", "FROM ") || has("UPDATE ", " SET") || has("INSERT INTO", "") || has("DELETE FROM", "")
}
