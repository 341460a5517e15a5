//! Where requests may go: to what is public, and to what the operator allows beside it.
//!
//! The invariant: an address is judged when it is connected to, not when its name was written down, so that a name which
//! resolves differently the next time gains nothing. Redirects are nobody's to follow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Ranges that are not reached over the Internet: IANA's special-purpose registry for IPv4 (RFC 6890), and multicast.
const SPECIAL_V4: [([u8; 4], u8); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    // Shared by the customers of a carrier (RFC 6598).
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Link-local, where clouds keep their metadata.
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    // Relays of 6to4, abandoned (RFC 7526).
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast, reserved, broadcast.
    ([224, 0, 0, 0], 3),
];
/// All that is routed on the Internet (RFC 4291, 2.4); whatever lies elsewhere is special.
const GLOBAL_V6: Ipv6Net = net6([0x2000, 0], 3);
/// What is special in there: protocols of the IETF with Teredo, benchmarks and ORCHID (`2001::/23`), and documentation
/// (RFC 3849, RFC 9637).
const SPECIAL_V6: [Ipv6Net; 3] = [net6([0x2001, 0], 23), net6([0x2001, 0xdb8], 32), net6([0x3fff, 0], 20)];
/// Addresses that stand for one of IPv4 (RFC 6052).
const NAT64: Ipv6Net = net6([0x64, 0xff9b], 96);
const SIX_TO_FOUR: u16 = 0x2002;

const fn net6(begin: [u16; 2], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(begin[0], begin[1], 0, 0, 0, 0, 0, 0), length)
}

/// What the operator allows beside what is public.
#[derive(Clone, Debug, Default)]
pub struct OutgoingPolicy {
    allowed: Arc<[IpNet]>,
}

/// Why nothing is sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("its address is private; the operator may allow it")]
    Private,
    #[error("without TLS only what the operator allows may be called")]
    Plain,
}

impl OutgoingPolicy {
    pub fn new(allowed: &[IpNet]) -> Self {
        Self { allowed: allowed.into() }
    }

    /// Whether anything may be called in the clear.
    pub fn allows_some_plain(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// Whether an address may be connected to; `plain` is without TLS.
    pub fn check(&self, address: IpAddr, plain: bool) -> Result<(), Refused> {
        let meant = embedded_v4(address).map_or(address, IpAddr::V4);
        let is_allowed = self.allowed.iter().any(|net| net.contains(&meant) || net.contains(&address));
        match is_allowed {
            true => Ok(()),
            false if !is_public(meant) => Err(Refused::Private),
            false if plain => Err(Refused::Plain),
            false => Ok(()),
        }
    }

    /// Whether a host may be called as far as its name tells: a literal address is judged, anything else is when it is resolved.
    pub fn check_host(&self, host: &str, plain: bool) -> Result<(), Refused> {
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => self.check(address, plain),
            Err(_) if plain && !self.allows_some_plain() => Err(Refused::Plain),
            Err(_) => Ok(()),
        }
    }

    /// The same of a URL, which is in the clear unless it says `https`.
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        self.check_host(url.host_str().unwrap_or_default(), url.scheme() != "https")
    }
}

/// Resolves names to what may be called, and to nothing else; `plain` is without TLS.
#[derive(Clone, Debug)]
pub struct Resolver {
    pub policy: OutgoingPolicy,
    pub plain: bool,
}

impl Resolver {
    /// The addresses of a host that may be connected to, at least one.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
        let found = tokio::net::lookup_host((host, port)).await.map_err(LookupError::Lookup)?;
        let mut refused = None;
        let mut allowed: Vec<SocketAddr> = Vec::new();
        for address in found {
            match self.policy.check(address.ip(), self.plain) {
                Ok(()) => allowed.push(address),
                Err(why) => refused = Some(why),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(why)) => Err(why.into()),
            (true, None) => Err(LookupError::Lookup(std::io::ErrorKind::NotFound.into())),
        }
    }
}

/// Why a host has no address to connect to.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("its name cannot be resolved: {0}")]
    Lookup(#[source] std::io::Error),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            // Whoever asks puts the port in.
            match resolver.addresses(name.as_str(), 0).await {
                Ok(addresses) => Ok(Box::new(addresses.into_iter()) as Addrs),
                Err(LookupError::Refused(refused)) => Err(refused.into()),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// The address of IPv4 that one of IPv6 stands for: mapped (`::ffff:0:0/96`), compatible (`::/96`), behind NAT64 or 6to4.
fn embedded_v4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let segments = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    if segments[0] == SIX_TO_FOUR {
        return Some(join(segments[1], segments[2]));
    }
    let is_mapped = segments[..5] == [0; 5] && matches!(segments[5], 0 | 0xffff);
    (is_mapped || NAT64.contains(&address)).then(|| join(segments[6], segments[7]))
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4
            .iter()
            .any(|(begin, length)| Ipv4Net::new_assert(Ipv4Addr::from(*begin), *length).contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    //! Which addresses are public, and what the operator's word changes.
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use super::*;

    const PUBLIC: [&str; 12] = [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ];
    const PRIVATE: [&str; 46] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::a00:1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "3fff::1",
        "4000::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];

    fn allowing(networks: &[&str]) -> OutgoingPolicy {
        let networks: Vec<IpNet> = networks.iter().map(|text| text.parse().unwrap()).collect();
        OutgoingPolicy::new(&networks)
    }

    #[test]
    fn what_is_public_is_called_with_tls_and_nothing_else_is() {
        let policy = OutgoingPolicy::default();
        for text in PUBLIC {
            assert_eq!(policy.check(text.parse().unwrap(), false), Ok(()), "{text}");
            assert_eq!(policy.check(text.parse().unwrap(), true), Err(Refused::Plain), "{text}");
        }
        for text in PRIVATE {
            assert_eq!(policy.check(text.parse().unwrap(), false), Err(Refused::Private), "{text}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_called_in_the_clear_too_however_it_is_written() {
        let policy = allowing(&["127.0.0.0/8", "fd00::/8"]);
        for text in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00::7"] {
            assert_eq!(policy.check(text.parse().unwrap(), true), Ok(()), "{text}");
        }
        for text in ["10.0.0.1", "169.254.169.254", "::1", "fc00::1"] {
            assert_eq!(policy.check(text.parse().unwrap(), false), Err(Refused::Private), "{text}");
        }
        assert_eq!(policy.check("1.1.1.1".parse().unwrap(), true), Err(Refused::Plain));
    }

    #[test]
    fn a_literal_address_is_judged_in_every_spelling_that_a_url_may_have() {
        let policy = OutgoingPolicy::default();
        for text in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://10.0.0.1:8443/in",
        ] {
            assert_eq!(policy.check_url(&Url::parse(text).unwrap()), Err(Refused::Private), "{text}");
        }
        assert_eq!(policy.check_url(&Url::parse("https://hooks.example/").unwrap()), Ok(()));
        let plain = Url::parse("http://hooks.example/").unwrap();
        assert_eq!(policy.check_url(&plain), Err(Refused::Plain));
        assert_eq!(allowing(&["10.0.0.0/8"]).check_url(&plain), Ok(()), "it may resolve to there");
    }
}
