//! Accepts TCP connections with Nagle's algorithm off: frames and answers are small and must not wait for an
//! acknowledgement of the one before. How they end is the matter of a [`Connection`].

use std::io::Result;
use std::net::SocketAddr;

use poem::http::uri::Scheme;
use poem::listener::{Acceptor, TcpAcceptor};
use poem::web::{LocalAddr, RemoteAddr};
use tokio::net::TcpListener;

use super::connection::Connection;

pub struct NoDelay {
    inner: TcpAcceptor,
    address: SocketAddr,
}

impl NoDelay {
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, inner: TcpAcceptor::from_tokio(listener)? })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Acceptor for NoDelay {
    type Io = Connection;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.inner.local_addr()
    }

    async fn accept(&mut self) -> Result<(Connection, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, local, remote, scheme) = self.inner.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Connection::new(stream), local, remote, scheme))
    }
}
