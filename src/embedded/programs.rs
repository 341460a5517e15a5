//! Finding the programs: PATH first, then the folders where the distributions hide them.
//!
//! The invariant: an existing cluster is opened by the major version that made it, or not at all. Debian keeps several
//! side by side, and an upgrade of the distribution must not turn into "database files are incompatible".

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::EmbeddedError;

/// Where programs are looked for.
pub(super) struct Search {
    path: Vec<PathBuf>,
    root: PathBuf,
}

impl Search {
    pub fn of_this_machine() -> Self {
        Self::new(&std::env::var_os("PATH").unwrap_or_default(), Path::new("/"))
    }

    pub fn new(path: &OsStr, root: &Path) -> Self {
        // A relative entry would make what runs depend on the working directory.
        Self {
            path: std::env::split_paths(path).filter(|folder| folder.is_absolute()).collect(),
            root: root.to_owned(),
        }
    }

    /// The folders that hold both `initdb` and `postgres`, best first.
    pub fn postgres(&self) -> Result<Vec<PathBuf>, EmbeddedError> {
        let mut folders = self.path.clone();
        folders.extend(self.newest_first("usr/lib/postgresql", "", "bin"));
        folders.extend(self.newest_first("usr", "pgsql-", "bin"));
        for prefix in HOMEBREW {
            folders.extend(self.newest_first(&format!("{prefix}/opt"), "postgresql", "bin"));
        }
        folders.extend(BIN.map(|folder| self.root.join(folder)));
        folders.retain(|folder| is_program(&folder.join("postgres")) && is_program(&folder.join("initdb")));
        match folders.is_empty() {
            false => Ok(folders),
            true => Err(EmbeddedError::Missing {
                service: "Postgres",
                programs: "`postgres` and `initdb`",
                install: "`apt install postgresql`, `dnf install postgresql-server` or `brew install postgresql@17`",
                variable: "TIDINGS_DATABASE_URL",
            }),
        }
    }

    /// The Redis server, or its twin Valkey.
    pub fn redis(&self) -> Result<PathBuf, EmbeddedError> {
        let mut folders = self.path.clone();
        for prefix in HOMEBREW {
            folders.extend(
                ["redis", "valkey"].map(|name| self.root.join(prefix).join("opt").join(name).join("bin")),
            );
        }
        folders.extend(BIN.map(|folder| self.root.join(folder)));
        let mut programs = ["redis-server", "valkey-server"]
            .into_iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        programs.find(|program| is_program(program)).ok_or(EmbeddedError::Missing {
            service: "Redis",
            programs: "`redis-server` or `valkey-server`",
            install: "`apt install redis-server`, `dnf install valkey` or `brew install redis`",
            variable: "TIDINGS_REDIS_URL",
        })
    }

    /// `<parent>/<prefix><version>/<inside>`, the greatest version first.
    fn newest_first(&self, parent: &str, prefix: &str, inside: &str) -> Vec<PathBuf> {
        let Ok(entries) = self.root.join(parent).read_dir() else { return Vec::new() };
        let mut versions: Vec<(u32, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let version = name.strip_prefix(prefix)?.trim_start_matches('@');
                Some((version.parse().unwrap_or(0), entry.path().join(inside)))
            })
            .collect();
        versions.sort_by(|a, b| b.cmp(a));
        versions.into_iter().map(|(_, path)| path).collect()
    }
}

const HOMEBREW: [&str; 3] = ["opt/homebrew", "usr/local", "home/linuxbrew/.linuxbrew"];
/// Not always on the PATH of a service manager or of cron.
const BIN: [&str; 5] = ["usr/local/pgsql/bin", "usr/local/bin", "usr/bin", "usr/local/sbin", "usr/sbin"];

/// Of several installations the first whose major version made the cluster at `cluster`; the first of all when there is none yet.
pub(super) async fn postgres_for(cluster: &Path, folders: &[PathBuf]) -> Result<PathBuf, EmbeddedError> {
    let made_by =
        std::fs::read_to_string(cluster.join("PG_VERSION")).ok().map(|version| version.trim().to_owned());
    let mut found = Vec::new();
    for folder in folders {
        let Some(made_by) = &made_by else { return Ok(folder.clone()) };
        match major_version(&folder.join("postgres")).await {
            Some(version) if version == *made_by => return Ok(folder.clone()),
            Some(version) => found.push(version),
            None => {}
        }
    }
    found.dedup();
    Err(EmbeddedError::Version { path: cluster.to_owned(), cluster: made_by.unwrap_or_default(), found })
}

/// `15` of "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
async fn major_version(postgres: &Path) -> Option<String> {
    let output =
        tokio::process::Command::new(postgres).arg("--version").kill_on_drop(true).output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_once("(PostgreSQL) ")?.1;
    Some(version.chars().take_while(char::is_ascii_digit).collect())
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use super::*;

    fn install(root: &Path, programs: &[&str]) {
        use std::os::unix::fs::OpenOptionsExt;
        for program in programs {
            let path = root.join(program);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o755)
                .open(path)
                .unwrap();
        }
    }

    #[test]
    fn the_newest_postgres_of_debian_comes_first_and_by_number() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "15", "16"] {
            let folder = format!("usr/lib/postgresql/{version}/bin");
            install(root.path(), &[&format!("{folder}/postgres"), &format!("{folder}/initdb")]);
        }
        let folders = Search::new(OsStr::new(""), root.path()).postgres().unwrap();
        let names: Vec<_> = folders
            .iter()
            .map(|folder| folder.strip_prefix(root.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["usr/lib/postgresql/16/bin", "usr/lib/postgresql/15/bin", "usr/lib/postgresql/9/bin"]
        );
    }

    #[test]
    fn path_wins_over_the_folders_and_a_folder_without_initdb_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        install(
            root.path(),
            &["a/postgres", "b/postgres", "b/initdb", "usr/pgsql-16/bin/postgres", "usr/pgsql-16/bin/initdb"],
        );
        let path =
            std::env::join_paths([root.path().join("a"), root.path().join("b"), "relative".into()]).unwrap();
        let folders = Search::new(&path, root.path()).postgres().unwrap();
        assert_eq!(folders, [root.path().join("b"), root.path().join("usr/pgsql-16/bin")]);
    }

    #[test]
    fn homebrew_and_valkey_are_found() {
        let root = tempfile::tempdir().unwrap();
        install(
            root.path(),
            &["opt/homebrew/opt/postgresql@17/bin/postgres", "opt/homebrew/opt/postgresql@17/bin/initdb"],
        );
        install(root.path(), &["usr/sbin/valkey-server"]);
        let search = Search::new(OsStr::new(""), root.path());
        assert_eq!(search.postgres().unwrap(), [root.path().join("opt/homebrew/opt/postgresql@17/bin")]);
        assert_eq!(search.redis().unwrap(), root.path().join("usr/sbin/valkey-server"));
    }

    #[test]
    fn a_missing_program_is_one_line_that_says_what_to_install() {
        let root = tempfile::tempdir().unwrap();
        let search = Search::new(OsStr::new("/nowhere"), root.path());
        assert_eq!(
            search.postgres().unwrap_err().to_string(),
            "the embedded Postgres needs `postgres` and `initdb`, found neither on PATH nor in the usual folders: install with \
             `apt install postgresql`, `dnf install postgresql-server` or `brew install postgresql@17`, or set TIDINGS_DATABASE_URL"
        );
        assert_eq!(
            search.redis().unwrap_err().to_string(),
            "the embedded Redis needs `redis-server` or `valkey-server`, found neither on PATH nor in the usual folders: install with \
             `apt install redis-server`, `dnf install valkey` or `brew install redis`, or set TIDINGS_REDIS_URL"
        );
    }

    #[tokio::test]
    async fn a_cluster_of_a_version_that_is_not_installed_is_refused() {
        let cluster = tempfile::tempdir().unwrap();
        std::fs::write(cluster.path().join("PG_VERSION"), "8\n").unwrap();
        let folders = Search::of_this_machine().postgres().unwrap();
        let error = postgres_for(cluster.path(), &folders).await.unwrap_err().to_string();
        assert!(error.contains("made by PostgreSQL 8, which is not installed (found: "), "{error}");
    }
}
