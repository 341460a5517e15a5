//! Values that must never be seen: in a log, in an error, in a `{:?}` of whatever contains them.
//!
//! The invariant: the value leaves only through `expose`. And what Tidings generated once stays: a generated secret that cannot be
//! read back is an error, never a new secret, for a new master key would make every sealed event unreadable.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

const SECRET_BYTES: usize = 32;

/// A text that shows as `[secret]`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// The key that wraps the keys of the recipients.
#[derive(Clone)]
pub struct MasterKey([u8; SECRET_BYTES]);

impl MasterKey {
    /// Reads 64 hex digits.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut key = [0; SECRET_BYTES];
        hex::decode_to_slice(digits, &mut key).ok()?;
        Some(Self(key))
    }

    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// Why a generated secret is not to be had.
#[derive(Debug, Error)]
pub enum SecretFileError {
    #[error(
        "the secret in {path} is damaged (it should be 64 hex digits): restore the file, or remove it to get a new one"
    )]
    Damaged { path: PathBuf },
    #[error("the secret in {path} cannot be read or written: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// The secret `<data_dir>/secrets/<name>`: 32 random bytes as 64 hex digits, made on the first call and the same ever after.
///
/// The caller holds the lock of the data directory: two processes must not generate at the same time.
pub fn generated(data_dir: &Path, name: &str) -> Result<Secret, SecretFileError> {
    let folder = data_dir.join("secrets");
    let path = folder.join(name);
    let secret = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8(bytes).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(
            generate(data_dir, &folder, &path)
                .map_err(|source| SecretFileError::Io { path: path.clone(), source })?,
        ),
        Err(source) => return Err(SecretFileError::Io { path, source }),
    };
    match secret.as_deref().map(str::trim_end) {
        Some(digits) if MasterKey::from_hex(digits).is_some() => Ok(Secret(digits.to_owned())),
        _ => Err(SecretFileError::Damaged { path }),
    }
}

/// Whole or not at all, also after a power cut: written aside, synced, renamed, and the names synced.
fn generate(data_dir: &Path, folder: &Path, path: &Path) -> io::Result<String> {
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let digits = hex::encode(random);

    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = path.with_extension("new");
    if let Err(error) = std::fs::remove_file(&unfinished)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{digits}")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()?;
    File::open(data_dir)?.sync_all()?;
    Ok(digits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_shows_only_when_exposed() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "[secret] [secret] Some([secret])");
        assert_eq!(secret.expose(), "hunter2");
        let key = MasterKey::from_hex(&"0f".repeat(32)).unwrap();
        assert_eq!(format!("{key:?}"), "[secret]");
        assert_eq!(key.expose(), &[15; 32]);
    }

    #[test]
    fn a_master_key_is_exactly_64_hex_digits() {
        for wrong in
            ["", "00", &"0".repeat(63), &"0".repeat(65), &"0".repeat(66), &"g".repeat(64), &"é".repeat(32)]
        {
            assert!(MasterKey::from_hex(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_generated_secret_is_private_and_stays() {
        let data_dir = tempfile::tempdir().unwrap();
        let first = generated(data_dir.path(), "jwt_secret").unwrap();
        assert!(MasterKey::from_hex(first.expose()).is_some());
        assert_eq!(generated(data_dir.path(), "jwt_secret").unwrap().expose(), first.expose());
        assert_ne!(generated(data_dir.path(), "master_key").unwrap().expose(), first.expose());

        let folder = data_dir.path().join("secrets");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("jwt_secret"))), (0o700, 0o600));
        assert_eq!(folder.read_dir().unwrap().count(), 2, "nothing unfinished is left");
    }

    #[test]
    fn an_unfinished_file_of_an_earlier_crash_is_replaced() {
        let data_dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(data_dir.path().join("secrets")).unwrap();
        std::fs::write(data_dir.path().join("secrets/master_key.new"), "00").unwrap();
        generated(data_dir.path(), "master_key").unwrap();
        assert!(!data_dir.path().join("secrets/master_key.new").exists());
    }

    #[test]
    fn a_damaged_secret_is_an_error_that_names_the_file_and_is_not_replaced() {
        let data_dir = tempfile::tempdir().unwrap();
        generated(data_dir.path(), "master_key").unwrap();
        let path = data_dir.path().join("secrets/master_key");
        for damage in [&b""[..], b"abc", &[0xff; 64]] {
            std::fs::write(&path, damage).unwrap();
            let error = generated(data_dir.path(), "master_key").unwrap_err();
            assert!(matches!(&error, SecretFileError::Damaged { path: named } if *named == path), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), damage);
        }
    }

    #[test]
    fn a_secret_that_cannot_be_written_is_an_error_that_names_the_file() {
        let data_dir = tempfile::tempdir().unwrap();
        std::fs::write(data_dir.path().join("secrets"), "a file in the way").unwrap();
        let error = generated(data_dir.path(), "master_key").unwrap_err();
        assert!(matches!(error, SecretFileError::Io { .. }), "{error}");
        assert!(error.to_string().contains("secrets/master_key"), "{error}");
    }
}
