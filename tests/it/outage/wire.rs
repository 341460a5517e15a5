//! A wire to a server that can be led to another one, as a failover does: whoever is connected is cut off, and meets
//! the other when he comes back.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Wire {
    port: u16,
    target: Arc<watch::Sender<u16>>,
    listening: JoinHandle<()>,
}

impl Wire {
    /// Leads to a port of this machine.
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(watch::Sender::new(target));
        let listening = tokio::spawn(listen(listener, target.clone()));
        Self { port, target, listening }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection; those that come from now on are led elsewhere.
    pub fn lead_to(&self, target: u16) {
        self.target.send_replace(target);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, target: Arc<watch::Sender<u16>>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(forward(client, target.subscribe()));
    }
}

async fn forward(mut client: TcpStream, mut target: watch::Receiver<u16>) {
    let port = *target.borrow_and_update();
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = target.changed() => {}
    }
}
