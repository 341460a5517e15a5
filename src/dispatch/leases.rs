//! Claims work that is due, and gives it back. What is due stands in the delivery read model; who works on it, in leases
//! that no rebuild touches.

use std::time::Duration;

use sqlx::PgPool;
use tidings_domain::notification::{Channel, Priority};
use time::OffsetDateTime;
use uuid::Uuid;

use super::places::{Room, is_quiet, number};
use crate::clock;

/// How long what was claimed is left to the worker, until an attempt begins. That has a deadline of its own.
pub const LEASE: Duration = Duration::from_secs(30);
/// What is due in a lane, up to which it names the queues.
const NEAR: i64 = 256;
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
    pub lane: i16,
    /// The database's clock, by which it is due.
    pub at: OffsetDateTime,
    pub leased: Leased,
}

impl Claim {
    /// No clock of a node that is behind calls undue what the database calls due.
    pub fn now(&self) -> OffsetDateTime {
        clock::now().max(self.at)
    }
}

/// One look at what is due.
#[derive(Default)]
pub struct Look {
    pub claims: Vec<Claim>,
    /// Lane and pass of all that was found, whoever got it.
    pub served: Vec<(i16, f64)>,
    /// There may be more that there is room for.
    pub more: bool,
}

#[derive(sqlx::FromRow)]
struct FoundRow {
    tenant: String,
    notification: Uuid,
    channel: String,
    attempt: i32,
    lane: i16,
    pass: f64,
    /// Some queue was not read to its end, though it has room.
    more: bool,
    mine: bool,
    at: OffsetDateTime,
}

// Each lane is a queue per tenant and channel, and only those that have room are read, from where they begin: however much
// lies in the others costs nothing. Of many queues each is read a little (`cut`). Where little is due, its rows name the queues
// (`near`): those with work of tomorrow only, which may be thousands, are not met. Where much is, the queues are found by steps
// through their index. What others are claiming is passed over. A lease that was written between the look and the lock refuses
// the second, and the order of the insertion keeps two nodes from waiting for each other.
const CLAIM: &str = "
WITH RECURSIVE lanes AS (
    SELECT * FROM unnest($1::smallint[], $2::float8[], $3::float8[]) l (lane, pass, stride)
), near AS MATERIALIZED (
    SELECT l.lane, w.tenant, w.channel
      FROM lanes l
     CROSS JOIN LATERAL (
           SELECT tenant, channel FROM delivery_v3.deliveries
            WHERE priority = l.lane AND work_at <= now() ORDER BY work_at LIMIT $14) w
), queues AS (
    SELECT l.lane, q.tenant, q.channel
      FROM (SELECT lane FROM near GROUP BY lane HAVING count(*) = $14) l
     CROSS JOIN LATERAL (
           SELECT tenant, channel FROM delivery_v3.deliveries
            WHERE priority = l.lane AND work_at IS NOT NULL
            ORDER BY tenant, channel LIMIT 1) q
     UNION ALL
    SELECT p.lane, q.tenant, q.channel
      FROM queues p
     CROSS JOIN LATERAL (
           SELECT tenant, channel FROM delivery_v3.deliveries
            WHERE priority = p.lane AND work_at IS NOT NULL AND (tenant, channel) > (p.tenant, p.channel)
            ORDER BY tenant, channel LIMIT 1) q
), due AS (
    SELECT q.lane, q.tenant, q.channel, r.room,
           row_number() OVER (PARTITION BY q.lane ORDER BY h.work_at) AS place,
           2 * $4 / least(count(*) OVER (PARTITION BY q.lane), $4) AS share
      FROM (SELECT * FROM near UNION SELECT * FROM queues) q
      LEFT JOIN unnest($6::text[], $7::text[], $8::bigint[]) t (tenant, channel, room)
             ON (t.tenant, t.channel) = (q.tenant, q.channel)
     CROSS JOIN LATERAL (SELECT coalesce(t.room, $9) + CASE WHEN q.lane < $10 THEN 0 ELSE $13 END AS room) r
     CROSS JOIN LATERAL (
           SELECT d.work_at FROM delivery_v3.deliveries d
            CROSS JOIN LATERAL (SELECT d.attempt + CASE d.status WHEN 'started' THEN 1 ELSE 0 END AS attempt) n
            WHERE (d.priority, d.tenant, d.channel) = (q.lane, q.tenant, q.channel) AND d.work_at <= now()
              AND (SELECT 1 FROM dispatch.leases o
                    WHERE (o.notification, o.channel, o.attempt) = (d.notification, d.channel, n.attempt)
                      AND o.until > now() LIMIT 1) IS NULL
              AND (SELECT 1 FROM delivery_v3.parked p
                    WHERE (p.tenant, p.user_id) = (d.tenant, d.user_id) LIMIT 1) IS NULL
            ORDER BY d.work_at LIMIT 1) h
     WHERE r.room > 0
), found AS (
    SELECT w.*, l.lane, q.room, q.share,
           l.pass + l.stride * row_number() OVER (PARTITION BY l.lane ORDER BY w.work_at) AS pass
      FROM due q JOIN lanes l USING (lane)
     CROSS JOIN LATERAL (
           SELECT d.tenant, d.notification, d.channel, n.attempt, d.work_at
             FROM delivery_v3.deliveries d
            CROSS JOIN LATERAL (SELECT d.attempt + CASE d.status WHEN 'started' THEN 1 ELSE 0 END AS attempt) n
            WHERE (d.priority, d.tenant, d.channel) = (q.lane, q.tenant, q.channel) AND d.work_at <= now()
              AND (SELECT 1 FROM dispatch.leases o
                    WHERE (o.notification, o.channel, o.attempt) = (d.notification, d.channel, n.attempt)
                      AND o.until > now() LIMIT 1) IS NULL
              AND (SELECT 1 FROM delivery_v3.parked p
                    WHERE (p.tenant, p.user_id) = (d.tenant, d.user_id) LIMIT 1) IS NULL
            ORDER BY d.work_at LIMIT least(q.room, q.share)
              FOR UPDATE OF d SKIP LOCKED) w
     WHERE q.place <= $4
), roomy AS (
    SELECT *, row_number() OVER (PARTITION BY tenant, channel ORDER BY pass, lane DESC) AS nth,
           share < room AND count(*) OVER (PARTITION BY lane, tenant, channel) = share AS cut
      FROM found
), ranked AS (
    SELECT *, bool_or(cut) OVER () AS more, count(*) FILTER (WHERE lane < $10) OVER (ORDER BY pass, lane DESC, nth) AS quiet
      FROM roomy WHERE nth <= room
), chosen AS (
    SELECT * FROM ranked WHERE lane >= $10 OR quiet <= $5 ORDER BY pass, lane DESC LIMIT $4
), leased AS (
    INSERT INTO dispatch.leases AS o (notification, channel, attempt, node, until)
    SELECT notification, channel, attempt, $11, now() + $12 * interval '1 second' FROM chosen
     ORDER BY notification, channel, attempt
        ON CONFLICT (notification, channel, attempt)
        DO UPDATE SET node = excluded.node, until = excluded.until WHERE o.until <= now()
    RETURNING notification, channel, attempt
)
SELECT c.tenant, c.notification, c.channel, c.attempt, c.lane, c.pass, c.more, l.notification IS NOT NULL AS mine, now() AS at
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

    /// Claims as much of what is due as there is room for, each lane its share.
    pub async fn claim(&self, passes: [(i16, f64, f64); 4], room: &Room) -> Result<Look, sqlx::Error> {
        let passes: Vec<_> =
            passes.into_iter().filter(|(lane, ..)| room.quiet > 0 || !is_quiet(*lane)).collect();
        let rows: Vec<FoundRow> = sqlx::query_as(CLAIM)
            .bind(passes.iter().map(|(lane, ..)| *lane).collect::<Vec<_>>())
            .bind(passes.iter().map(|(_, pass, _)| *pass).collect::<Vec<_>>())
            .bind(passes.iter().map(|(.., stride)| *stride).collect::<Vec<_>>())
            .bind(number(room.all))
            .bind(number(room.quiet))
            .bind(room.queues.iter().map(|((tenant, _), _)| tenant.as_str()).collect::<Vec<_>>())
            .bind(room.queues.iter().map(|((_, channel), _)| channel.as_str()).collect::<Vec<_>>())
            .bind(room.queues.iter().map(|(_, room)| *room).collect::<Vec<_>>())
            .bind(room.each)
            .bind(Priority::High as i16)
            .bind(self.node)
            .bind(LEASE.as_secs_f64())
            .bind(room.loud)
            .bind(NEAR)
            .fetch_all(&self.pool)
            .await?;
        let served: Vec<(i16, f64)> = rows.iter().map(|row| (row.lane, row.pass)).collect();
        let more = served.len() == room.all || rows.iter().any(|row| row.more);
        let claims = rows.into_iter().filter(|row| row.mine).filter_map(|row| {
            let FoundRow { tenant, notification, channel, attempt, lane, at, .. } = row;
            let channel = Channel::parse(&channel)?;
            Some(Claim { tenant, lane, at, leased: Leased { notification, channel, attempt } })
        });
        Ok(Look { claims: claims.collect(), served, more })
    }

    /// When the next work is due that is not yet, and how long that is off.
    pub async fn next_due(&self) -> Result<Option<(OffsetDateTime, Duration)>, sqlx::Error> {
        let next: Option<(OffsetDateTime, f64)> = sqlx::query_as(
            "SELECT d.work_at, extract(epoch FROM d.work_at - now())::float8
               FROM generate_series(0, 3) l (lane)
              CROSS JOIN LATERAL (SELECT work_at FROM delivery_v3.deliveries
                                   WHERE priority = l.lane AND work_at > now() ORDER BY work_at LIMIT 1) d
              ORDER BY d.work_at LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(next.map(|(at, seconds)| (at, Duration::from_secs_f64(seconds.clamp(0.0, 3600.0)))))
    }

    /// Gives back what is done, and puts off what is to be looked at again later.
    pub async fn settle(&self, leases: &[(Leased, Option<Duration>)]) -> Result<(), sqlx::Error> {
        if leases.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "WITH settled AS (
                 SELECT * FROM unnest($2::uuid[], $3::text[], $4::integer[], $5::float8[])
                               s (notification, channel, attempt, pause)
             ), put_off AS (
                 UPDATE dispatch.leases o SET until = now() + s.pause * interval '1 second' FROM settled s
                  WHERE (o.notification, o.channel, o.attempt) = (s.notification, s.channel, s.attempt)
                    AND o.node = $1 AND s.pause IS NOT NULL
             )
             DELETE FROM dispatch.leases o USING settled s
              WHERE (o.notification, o.channel, o.attempt) = (s.notification, s.channel, s.attempt)
                AND o.node = $1 AND s.pause IS NULL",
        )
        .bind(self.node)
        .bind(leases.iter().map(|(leased, _)| leased.notification).collect::<Vec<_>>())
        .bind(leases.iter().map(|(leased, _)| leased.channel.as_str()).collect::<Vec<_>>())
        .bind(leases.iter().map(|(leased, _)| leased.attempt).collect::<Vec<_>>())
        .bind(leases.iter().map(|(_, pause)| pause.map(|pause| pause.as_secs_f64())).collect::<Vec<_>>())
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
