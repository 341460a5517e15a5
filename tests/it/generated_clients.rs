//! Clients generated from the committed document: each generator takes all of it, and a program in its language tells
//! the whole story against the running service (`tests/clients/`).
//!
//! `./dev test` installs the generators. Go and a Java compiler are used where they are: without one the test says so.
//! On CI nothing that `./dev test` installs may be missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Service, skipped};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.yaml");

#[tokio::test]
async fn a_client_in_typescript_tells_the_whole_story() {
    let client = Client::of("typescript", &["package.json", "tsconfig.json", "story.ts"]);
    let modules = client.program.join("node_modules");
    if !modules.join(".installed").exists() {
        return missing("the packages of tests/clients/typescript");
    }
    let link = client.folder.join("node_modules");
    if !link.exists() {
        std::os::unix::fs::symlink(&modules, &link).unwrap();
    }
    let tool = |name: &str| Command::new(modules.join(".bin").join(name));
    let generated = client.run(tool("openapi-typescript").args([DOCUMENT, "-o", "api.ts"]));
    assert!(generated.stderr.is_empty(), "{generated:?}");
    client.has_every_operation("ts", |id| format!("\n    {id}: {{\n        parameters"));
    client.run(tool("tsc").args(["-p", "."]));
    client.story(Command::new("node").arg("out/story.js")).await;
}

#[tokio::test]
async fn a_client_in_python_tells_the_whole_story() {
    let client = Client::of("python", &["story.py"]);
    let Some(python) = Python::find() else { return missing("the Python packages") };
    // Any warning means that something of the document was left out.
    let mut generate = python.program("openapi-python-client");
    generate.args([
        "generate",
        "--overwrite",
        "--fail-on-warning",
        "--path",
        DOCUMENT,
        "--output-path",
        "generated",
    ]);
    client.run(&mut generate);
    client.has_every_operation("py", |id| format!("\n# the operation {}\n", snake(id)));
    client.story(python.program("python").args(["story.py", "generated"])).await;
}

#[tokio::test]
async fn a_client_in_rust_tells_the_whole_story() {
    let client = Client::of("rust", &["Cargo.toml", "Cargo.lock", "src/main.rs"]);
    let Some(generator) = Generator::find() else { return missing("openapi-generator, or Java to run it") };
    generator.generate(&client, "rust", "packageName=tidings-client");
    client.has_every_operation("rs", |id| format!("pub async fn {}(", snake(id)));
    let target = client.folder.join("target");
    let mut build = Command::new(env!("CARGO"));
    client.run(build.args(["build", "--quiet", "--locked"]).env("CARGO_TARGET_DIR", &target));
    client.story(&mut Command::new(target.join("debug/story"))).await;
}

#[tokio::test]
async fn a_client_in_go_tells_the_whole_story_where_go_is_installed() {
    let client = Client::of("go", &["go.mod", "main.go"]);
    let Some(generator) = Generator::find() else { return missing("openapi-generator, or Java to run it") };
    // Without the prefix two enums that share a value are one constant twice.
    generator.generate(&client, "go", "packageName=tidings,enumClassPrefix=true,withGoMod=false");
    client.has_every_operation("go", |id| format!(") {}{}Execute(", id[..1].to_uppercase(), &id[1..]));
    if !is_installed("go", "version") {
        return skipped("Go is not installed: its client was generated, but neither compiled nor used");
    }
    client.run(Command::new("go").args(["build", "-o", "story", "."]).env("GOFLAGS", "-mod=mod"));
    client.story(&mut Command::new(client.folder.join("story"))).await;
}

#[tokio::test]
async fn a_client_in_java_tells_the_whole_story_where_a_compiler_is_installed() {
    let client = Client::of("java", &["Story.java", "javax/annotation/Generated.java"]);
    let Some(generator) = Generator::find() else { return missing("openapi-generator, or Java to run it") };
    generator.generate(
        &client,
        "java",
        "library=native,openApiNullable=false,containerDefaultToNull=true,hideGenerationTimestamp=true",
    );
    client.has_every_operation("java", |id| format!(" {id}WithHttpInfo("));
    if !is_installed("javac", "--version") {
        return skipped(
            "javac is not installed: the Java client was generated, but neither compiled nor used",
        );
    }
    // The generator has all the libraries in it that what it makes needs (Jackson).
    let libraries = generator.jar.to_str().unwrap();
    let sources = client.files("java");
    let sources = sources.iter().filter(|file| !file.to_string_lossy().contains("/src/test/"));
    client.run(Command::new("javac").args(["-nowarn", "-d", "classes", "-cp", libraries]).args(sources));
    let classes = format!("classes:{libraries}");
    client.story(Command::new("java").args(["-cp", &classes, "Story"])).await;
}

/// A client in one language, in a folder of its own below the build output, next to the program that uses it.
struct Client {
    language: &'static str,
    /// The program, as committed.
    program: PathBuf,
    folder: PathBuf,
}

impl Client {
    /// With the files of the program, and nothing that was generated before.
    fn of(language: &'static str, files: &[&str]) -> Self {
        let program = Path::new(ROOT).join("tests/clients").join(language);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(language);
        for old in ["client", "generated", "classes", "out"] {
            let _ = std::fs::remove_dir_all(folder.join(old));
        }
        for file in files {
            let copy = folder.join(file);
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(program.join(file), copy).unwrap();
        }
        Self { language, program, folder }
    }

    /// Runs a step, which must succeed.
    #[track_caller]
    fn run(&self, step: &mut Command) -> Output {
        let output = step.current_dir(&self.folder).output();
        let output = output.unwrap_or_else(|error| panic!("{step:?}: {error}"));
        assert!(output.status.success(), "{step:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
        output
    }

    /// Runs the program against a service of its own.
    async fn story(&self, program: &mut Command) {
        let service = Service::start().await;
        let user = format!("{}-user", self.language);
        let arguments = [service.url(""), service.root_key(), user.clone(), service.token(&user)];
        let told = self.run(program.args(arguments).env("NO_PROXY", "127.0.0.1"));
        assert_eq!(text(&told.stdout).trim(), "told", "{}", self.language);
    }

    /// Generated sources contain what this makes of the id of each operation of the document.
    #[track_caller]
    fn has_every_operation(&self, extension: &str, in_source: impl Fn(&str) -> String) {
        let mut sources = String::new();
        for file in self.files(extension) {
            // In Python an operation is a file.
            sources += &format!("\n# the operation {}\n", file.file_stem().unwrap().to_str().unwrap());
            sources += &std::fs::read_to_string(&file).unwrap();
        }
        let operations = operations();
        assert!(operations.len() >= 24, "{operations:?}");
        let dropped: Vec<_> = operations.iter().filter(|id| !sources.contains(&in_source(id))).collect();
        assert!(dropped.is_empty(), "the client in {} lacks {dropped:?}", self.language);
    }

    /// All files of this kind below the folder, but those of the tools.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.folder.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == extension) {
                    files.push(path);
                }
            }
        }
        files
    }
}

/// The ids of all operations of the document.
fn operations() -> Vec<String> {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let document: Value = serde_saphyr::from_str(&document).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect()
}

/// `createNotification` as `create_notification`.
fn snake(id: &str) -> String {
    let letter = |c: char| if c.is_uppercase() { format!("_{}", c.to_lowercase()) } else { c.to_string() };
    id.chars().map(letter).collect()
}

/// The virtual environment that `./dev test` makes of `tests/clients/python/requirements.txt`.
pub struct Python {
    folder: PathBuf,
}

impl Python {
    pub fn find() -> Option<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("python");
        folder.join(".installed").exists().then_some(Self { folder })
    }

    /// One of its programs, which finds the others.
    pub fn program(&self, name: &str) -> Command {
        let programs = self.folder.join("bin");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(programs.join(name));
        command.env("PATH", format!("{}:{path}", programs.display()));
        command
    }
}

/// openapi-generator: a program for Java that comes as a Python package.
struct Generator {
    jar: PathBuf,
}

impl Generator {
    fn find() -> Option<Self> {
        let libraries = std::fs::read_dir(Python::find()?.folder.join("lib")).ok()?;
        let mut jars = libraries.map(|version| {
            version.unwrap().path().join("site-packages/openapi_generator_cli/openapi-generator.jar")
        });
        let jar = jars.find(|jar| jar.exists())?;
        is_installed("java", "-version").then_some(Self { jar })
    }

    /// Generates into `client/`, where nothing of the document may be passed over.
    #[track_caller]
    fn generate(&self, client: &Client, language: &str, properties: &str) {
        let mut command = Command::new("java");
        command.arg("-jar").arg(&self.jar);
        command.args(["generate", "-i", DOCUMENT, "-g", language, "-o", "client"]);
        let output = client.run(command.args(["--additional-properties", properties]));
        let lines = text(&output.stdout) + &text(&output.stderr);
        let warns = |line: &&str| line.contains("WARN") || line.contains("ERROR");
        // A name that is a word of the language is written differently in it.
        let warnings: Vec<_> = lines.lines().filter(warns).filter(|it| !it.contains("Renamed to")).collect();
        assert!(warnings.is_empty(), "{warnings:#?}");
    }
}

fn is_installed(program: &str, version: &str) -> bool {
    Command::new(program).arg(version).output().is_ok_and(|output| output.status.success())
}

/// `./dev test` installs it, so on CI it is there.
pub fn missing(what: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{what} must be there: ./dev test installs it"
    );
    skipped(&format!("{what} must be there, which ./dev test installs"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
