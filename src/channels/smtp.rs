//! Connections to SMTP servers, kept for their next message.
//!
//! Only what has read the answer to all it said is kept: on any other the next message would take an answer for its own that
//! was meant for the one before. So a connection belongs to whoever uses it, and is closed unless it is brought back.

use std::num::NonZeroUsize;
use std::sync::Mutex;
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

/// What makes connections interchangeable: the address that was judged, the server's settings, the password.
type Account = (String, String, Option<String>);
type Idle = Vec<(AsyncSmtpConnection, Instant)>;

pub struct Connections {
    idle: Mutex<LruCache<Account, Idle>>,
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
        Self { idle: Mutex::new(LruCache::new(SERVERS_MAX)) }
    }

    /// One that still answers, else a new one.
    pub async fn connect(&self, server: &Server<'_>) -> Result<Connection, Error> {
        let Server { smtp, password, address, .. } = server;
        let account = (address.clone(), format!("{smtp:?}"), password.map(str::to_owned));
        while let Some(mut inner) = self.take(&account) {
            if inner.test_connected().await {
                return Ok(Connection { account, inner });
            }
        }
        Ok(Connection { account, inner: server.connect().await? })
    }

    /// For the next message, unless it is spoilt.
    pub fn bring_back(&self, Connection { account, inner }: Connection) {
        if inner.has_broken() {
            return;
        }
        let mut idle = self.lock();
        // Those that nobody asks for any more, too.
        idle.iter_mut().for_each(|(_, idle)| idle.retain(|(_, since)| since.elapsed() < IDLE_TIMEOUT));
        let idle = idle.get_or_insert_mut(account, Vec::new);
        if idle.len() < IDLE_MAX {
            idle.push((inner, Instant::now()));
        }
    }

    /// The one that was used last.
    fn take(&self, account: &Account) -> Option<AsyncSmtpConnection> {
        let mut idle = self.lock();
        let (inner, since) = idle.get_mut(account)?.pop()?;
        (since.elapsed() < IDLE_TIMEOUT).then_some(inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<Account, Idle>> {
        self.idle.lock().expect("no code panics while it holds the connections")
    }
}

impl Connection {
    /// The server's answer to all of it.
    pub async fn send(&mut self, email: &lettre::Message) -> Result<Response, Error> {
        self.inner.send(email.envelope(), &email.formatted()).await
    }
}

impl Server<'_> {
    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let smtp = self.smtp;
        let hello = match smtp.from.parse::<Mailbox>() {
            Ok(from) => ClientId::Domain(from.email.domain().to_owned()),
            Err(_) => ClientId::default(),
        };
        let tls = match smtp.security {
            Security::None => None,
            Security::Starttls | Security::Tls => Some(self.tls()?),
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
