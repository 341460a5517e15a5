//! Claims work that is due, and gives it back. What is due stands in the delivery read model; who works on it, in leases
//! that no rebuild touches.

use std::time::Duration;

use sqlx::PgPool;
use tidings_domain::notification::Channel;
use time::OffsetDateTime;
use uuid::Uuid;

/// How long what was claimed is left to the worker, until an attempt begins. That has a deadline of its own.
pub const LEASE: Duration = Duration::from_secs(30);
/// Leases that are out for so long are of processes that have ended.
const KEPT: Duration = Duration::from_secs(60);

/// What one lease is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    pub notification: Uuid,
    pub channel: Channel,
    /// The one that may begin: after one that was lost, the next. So the lease of whoever died in that holds up nobody.
    pub attempt: i32,
}

/// A delivery that this node has to look at.
#[derive(Clone, Debug)]
pub struct Claim {
    pub tenant: String,
    pub leased: Leased,
}

/// One look at what is due.
#[derive(Default)]
pub struct Look {
    pub claims: Vec<Claim>,
    /// Lane and pass of all that was found, whoever got it.
    pub served: Vec<(i16, f64)>,
}

#[derive(sqlx::FromRow)]
struct FoundRow {
    tenant: String,
    notification: Uuid,
    channel: String,
    attempt: i32,
    lane: i16,
    pass: f64,
    mine: bool,
}

// Each lane is read from where its index begins; what others are claiming is passed over. A lease that was written between
// the look and the lock refuses the second, and the order of the insertion keeps two nodes from waiting for each other.
const CLAIM: &str = "
WITH found AS (
    SELECT w.tenant, w.notification, w.channel, w.attempt, l.lane,
           l.pass + l.stride * row_number() OVER (PARTITION BY l.lane ORDER BY w.work_at) AS pass
      FROM unnest($1::smallint[], $2::float8[], $3::float8[]) l (lane, pass, stride)
     CROSS JOIN LATERAL (
           SELECT d.tenant, d.notification, d.channel, n.attempt, d.work_at
             FROM delivery_v2.deliveries d
            CROSS JOIN LATERAL (SELECT d.attempt + CASE d.status WHEN 'started' THEN 1 ELSE 0 END AS attempt) n
            WHERE d.priority = l.lane AND d.work_at <= now()
              AND (SELECT 1 FROM dispatch.leases o
                    WHERE (o.notification, o.channel, o.attempt) = (d.notification, d.channel, n.attempt)
                      AND o.until > now() LIMIT 1) IS NULL
              AND (SELECT 1 FROM delivery_v2.parked p
                    WHERE (p.tenant, p.user_id) = (d.tenant, d.user_id) LIMIT 1) IS NULL
            ORDER BY d.work_at LIMIT $4
              FOR UPDATE OF d SKIP LOCKED) w
), chosen AS (
    SELECT * FROM found ORDER BY pass, lane DESC LIMIT $4
), leased AS (
    INSERT INTO dispatch.leases AS o (notification, channel, attempt, node, until)
    SELECT notification, channel, attempt, $5, now() + $6 * interval '1 second' FROM chosen
     ORDER BY notification, channel, attempt
        ON CONFLICT (notification, channel, attempt)
        DO UPDATE SET node = excluded.node, until = excluded.until WHERE o.until <= now()
    RETURNING notification, channel, attempt
)
SELECT c.tenant, c.notification, c.channel, c.attempt, c.lane, c.pass, l.notification IS NOT NULL AS mine
  FROM chosen c LEFT JOIN leased l USING (notification, channel, attempt)
 ORDER BY c.pass, c.lane DESC";

/// The leases of this process.
#[derive(Clone)]
pub struct Leases {
    pool: PgPool,
    node: Uuid,
}

impl Leases {
    pub fn new(pool: PgPool, node: Uuid) -> Self {
        Self { pool, node }
    }

    /// Claims up to `limit` of what is due, each lane its share.
    pub async fn claim(&self, passes: [(i16, f64, f64); 4], limit: usize) -> Result<Look, sqlx::Error> {
        let rows: Vec<FoundRow> = sqlx::query_as(CLAIM)
            .bind(passes.map(|(lane, _, _)| lane).to_vec())
            .bind(passes.map(|(_, pass, _)| pass).to_vec())
            .bind(passes.map(|(_, _, stride)| stride).to_vec())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(self.node)
            .bind(LEASE.as_secs_f64())
            .fetch_all(&self.pool)
            .await?;
        let served = rows.iter().map(|row| (row.lane, row.pass)).collect();
        let claims = rows.into_iter().filter(|row| row.mine).filter_map(|row| {
            let FoundRow { tenant, notification, channel, attempt, .. } = row;
            let channel = Channel::parse(&channel)?;
            Some(Claim { tenant, leased: Leased { notification, channel, attempt } })
        });
        Ok(Look { claims: claims.collect(), served })
    }

    /// When the next work is due that is not yet, and how long that is off.
    pub async fn next_due(&self) -> Result<Option<(OffsetDateTime, Duration)>, sqlx::Error> {
        let next: Option<(OffsetDateTime, f64)> = sqlx::query_as(
            "SELECT d.work_at, extract(epoch FROM d.work_at - now())::float8
               FROM generate_series(0, 3) l (lane)
              CROSS JOIN LATERAL (SELECT work_at FROM delivery_v2.deliveries
                                   WHERE priority = l.lane AND work_at > now() ORDER BY work_at LIMIT 1) d
              ORDER BY d.work_at LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(next.map(|(at, seconds)| (at, Duration::from_secs_f64(seconds.clamp(0.0, 3600.0)))))
    }

    /// Gives back what is done, and puts off what is to be looked at again later.
    pub async fn settle(&self, leases: &[(Leased, Option<OffsetDateTime>)]) -> Result<(), sqlx::Error> {
        if leases.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "WITH settled AS (
                 SELECT * FROM unnest($2::uuid[], $3::text[], $4::integer[], $5::timestamptz[])
                               s (notification, channel, attempt, until)
             ), put_off AS (
                 UPDATE dispatch.leases o SET until = s.until FROM settled s
                  WHERE (o.notification, o.channel, o.attempt) = (s.notification, s.channel, s.attempt)
                    AND o.node = $1 AND s.until IS NOT NULL
             )
             DELETE FROM dispatch.leases o USING settled s
              WHERE (o.notification, o.channel, o.attempt) = (s.notification, s.channel, s.attempt)
                AND o.node = $1 AND s.until IS NULL",
        )
        .bind(self.node)
        .bind(leases.iter().map(|(leased, _)| leased.notification).collect::<Vec<_>>())
        .bind(leases.iter().map(|(leased, _)| leased.channel.as_str()).collect::<Vec<_>>())
        .bind(leases.iter().map(|(leased, _)| leased.attempt).collect::<Vec<_>>())
        .bind(leases.iter().map(|(_, until)| *until).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Forgets what nobody will give back.
    pub async fn sweep(&self) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM dispatch.leases WHERE until < now() - $1 * interval '1 second'")
            .bind(KEPT.as_secs_f64())
            .execute(&self.pool)
            .await
            .map(drop)
    }
}
