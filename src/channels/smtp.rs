//! Connections to SMTP servers, kept for their next message.
//!
//! Only what has read the answer to all it said is kept: on any other the next message would take an answer for its own that
//! was meant for the one before. So a connection belongs to whoever uses it, and is closed unless it is brought back.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, response::Response};
use lru::LruCache;
use tidings_domain::settings::{Security, Smtp};
use tokio::time::Instant;

/// Servers whose connections are kept.
const SERVERS_MAX: NonZeroUsize = NonZeroUsize::new(100).expect("not zero");
/// Connections to one of them that wait for their next message, and how long. Each call that is under way has its own.
const IDLE_MAX: usize = 10;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one that waited may take to say that it still stands.
const NOOP_TIMEOUT: Duration = Duration::from_millis(500);

/// What makes connections interchangeable: the address that was judged, the server's settings, the password.
type Account = (String, String, Option<String>);

/// What is kept of an account. Whom to trust takes a while to read.
#[derive(Default)]
struct Kept {
    tls: Option<TlsParameters>,
    idle: Vec<(AsyncSmtpConnection, Instant)>,
}

pub struct Connections {
    kept: Mutex<LruCache<Account, Kept>>,
}

/// One that stands, for one message.
pub struct Connection {
    account: Account,
    inner: AsyncSmtpConnection,
}

/// Where it goes to.
pub struct Server<'a> {
    pub smtp: &'a Smtp,
    pub password: Option<&'a str>,
    /// Its name, as a certificate has it.
    pub host: &'a str,
    /// The one that was judged.
    pub address: String,
}

impl Connections {
    pub fn new() -> Self {
        Self { kept: Mutex::new(LruCache::new(SERVERS_MAX)) }
    }

    /// One that still answers, else a new one.
    pub async fn connect(&self, server: &Server<'_>) -> Result<Connection, Error> {
        let Server { smtp, password, address, .. } = server;
        let account = (address.clone(), format!("{smtp:?}"), password.map(str::to_owned));
        while let Some(mut inner) = self.take(&account) {
            let answers = tokio::time::timeout(NOOP_TIMEOUT, inner.test_connected()).await;
            if answers.unwrap_or(false) {
                return Ok(Connection { account, inner });
            }
        }
        let tls = self.tls(&account, server)?;
        Ok(Connection { account, inner: server.connect(tls).await? })
    }

    fn tls(&self, account: &Account, server: &Server<'_>) -> Result<Option<TlsParameters>, Error> {
        if server.smtp.security == Security::None {
            return Ok(None);
        }
        if let Some(known) = self.lock().get(account).and_then(|kept| kept.tls.clone()) {
            return Ok(Some(known));
        }
        let tls = server.tls()?;
        self.lock().get_or_insert_mut(account.clone(), Kept::default).tls = Some(tls.clone());
        Ok(Some(tls))
    }

    /// For the next message, unless it is spoilt.
    pub fn bring_back(&self, Connection { account, inner }: Connection) {
        if inner.has_broken() {
            return;
        }
        let mut kept = self.lock();
        let Kept { idle, .. } = kept.get_or_insert_mut(account, Kept::default);
        if idle.len() < IDLE_MAX {
            idle.push((inner, Instant::now()));
        }
    }

    /// The one that was used last.
    fn take(&self, account: &Account) -> Option<AsyncSmtpConnection> {
        let mut kept = self.lock();
        // Those that nobody asks for any more, too.
        for (_, Kept { idle, .. }) in kept.iter_mut() {
            idle.retain(|(_, since)| since.elapsed() < IDLE_TIMEOUT);
        }
        Some(kept.get_mut(account)?.idle.pop()?.0)
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Account, Kept>> {
        self.kept.lock().expect("no code panics while it holds the connections")
    }
}

impl Connection {
    /// The server's answer to all of it.
    pub async fn send(&mut self, email: &lettre::Message) -> Result<Response, Error> {
        self.inner.send(email.envelope(), &email.formatted()).await
    }
}

impl Server<'_> {
    async fn connect(&self, tls: Option<TlsParameters>) -> Result<AsyncSmtpConnection, Error> {
        let smtp = self.smtp;
        let hello = match smtp.from.parse::<Mailbox>() {
            Ok(from) => ClientId::Domain(from.email.domain().to_owned()),
            Err(_) => ClientId::default(),
        };
        let at_once = tls.clone().filter(|_| smtp.security == Security::Tls);
        let place = (self.address.as_str(), smtp.port);
        let mut inner = AsyncSmtpConnection::connect_tokio1(place, None, &hello, at_once, None).await?;
        if let Some(tls) = tls.filter(|_| smtp.security == Security::Starttls) {
            inner.starttls(tls, &hello).await?;
        }
        if let (Some(username), Some(password)) = (&smtp.username, self.password) {
            let credentials = Credentials::new(username.clone(), password.to_owned());
            inner.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        Ok(inner)
    }

    fn tls(&self) -> Result<TlsParameters, Error> {
        let mut tls = TlsParameters::builder(self.host.to_owned());
        if let Some(pem) = &self.smtp.tls_ca {
            tls = tls.add_root_certificate(Certificate::from_pem(pem.as_bytes())?);
        }
        tls.build_rustls()
    }
}
