"""Every bound of the container, once: its unit in its name, its reason beside it.

The configuration may set each of them, for all applications in ``[limits]`` or for one in
``[apps.NAME.limits]``.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen
from attrs.validators import gt, instance_of

KIB = 1024
MIB = 1024 * KIB
TIB = 1024 * 1024 * MIB


def _bound(default: int) -> int:
    whole = [instance_of(int), gt(0)]
    return field(default=default, validator=whole)


BACKLOG: Final = 1_024  # connections that wait for a door, unless its endpoint says otherwise


@frozen(kw_only=True)
class Limits:
    """The bounds of one application; all are whole numbers above zero."""

    # Order: what may wait for the disk. Full means 503 and 452, never a growing queue.
    queue_events_max: int = _bound(20_000)  # about one second of the fastest load measured
    queue_bytes_max: int = _bound(64 * MIB)  # so that large events cannot eat the memory
    frame_events_max: int = _bound(4_096)  # bounds the work, and so the pause, of one batch
    frame_bytes_max: int = _bound(16 * MIB)  # bounds what a hostile length makes a reader take
    event_bytes_max: int = _bound(8 * MIB)  # one event always fits a frame; larger is a blob
    keys_remembered_max: int = _bound(100_000)  # idempotency keys kept, the oldest go first
    key_chars_max: int = _bound(255)  # as the peers that take Idempotency-Key do

    # Memory. Full means 503 and 452 for new events; see happy.memory.
    memory_bytes_max: int = _bound(1 * TIB)  # the state, as estimated; no bound unless it is set
    memory_free_bytes_min: int = _bound(128 * MIB)  # left to the machine: else all of it crawls

    # Applying.
    handler_timeout_s: int = _bound(60)  # for 128 events; then the process ends, it is stuck
    poison_deaths_max: int = _bound(3)  # ends of the process at one event; twice may be chance

    # Journal.
    segment_bytes_max: int = _bound(64 * MIB)  # etcd's size: prepared in a moment, copied easily
    digest_events_max: int = _bound(10_000)  # what a divergence is narrowed down to
    journal_idle_mark_ms: int = _bound(50)  # a pause as long: then the last frame is vouched for

    # Snapshots: made when this much is behind the last one.
    snapshot_behind_bytes_max: int = _bound(256 * MIB)  # four segments; read in a second
    snapshot_behind_replay_s_max: int = _bound(10)  # estimated; about what a restart may take
    snapshots_kept_max: int = _bound(2)  # should one be found damaged, there is the one before
    snapshot_retry_s: int = _bound(60)  # the first pause after one could not be made; doubles
    snapshot_retry_max_s: int = _bound(3_600)  # the longest such pause
    snapshot_niceness_min: int = _bound(
        19
    )  # of the process that makes them; 19 waits for all others

    # HTTP.
    http_request_line_bytes_max: int = _bound(8 * KIB)  # 414; what Apache and nginx allow
    http_header_bytes_max: int = _bound(16 * KIB)  # 431; twisted.web's figure
    http_headers_max: int = _bound(100)  # 431; as Apache
    http_body_bytes_max: int = _bound(8 * MIB)  # 413
    http_header_timeout_s: int = _bound(20)  # from the first byte to the end of the headers
    http_body_timeout_s: int = _bound(120)  # from the headers to the end of the body
    http_handler_timeout_s: int = _bound(60)  # 503 when the application does not answer
    http_idle_timeout_s: int = _bound(75)  # keep-alive; above the 60 s that nginx keeps upstream
    http_connections_max: int = _bound(20_000)
    http_pipeline_max: int = _bound(16)  # requests read ahead on one connection
    http_stall_timeout_s: int = _bound(120)  # a peer that takes nothing of its answer is cut
    http_linger_s: int = _bound(5)  # for a peer to close, too, after the last answer
    http_linger_bytes_max: int = _bound(1 * MIB)  # dropped meanwhile, then it is not read

    # SMTP (RFC 5321 section 4.5.3).
    smtp_command_bytes_max: int = _bound(2_048)  # 512 and room for the parameters of extensions
    smtp_line_bytes_max: int = _bound(64 * KIB)  # the RFC says 1000; real mail is not so kind
    smtp_message_bytes_max: int = _bound(50 * MIB)  # advertised as SIZE
    smtp_recipients_max: int = _bound(1_000)  # above the 100 that the RFC demands
    smtp_errors_max: int = _bound(20)  # then 421
    smtp_commands_max: int = _bound(1_000)  # without a message in between, then 421
    smtp_messages_max: int = _bound(1_000)  # in one session, then 421
    smtp_command_timeout_s: int = _bound(300)
    smtp_data_timeout_s: int = _bound(180)  # for each block of data
    smtp_session_timeout_s: int = _bound(3_600)  # for one message, however slowly it drips
    smtp_connections_max: int = _bound(2_000)
    smtp_connections_per_peer_max: int = _bound(100)  # not counted on a unix socket
    smtp_auth_line_bytes_max: int = _bound(12_290)  # RFC 4954 section 4: 12288 and its CRLF
    smtp_auth_tries_max: int = _bound(3)  # wrong passwords in a session, then 421
    smtp_auth_delay_s: int = _bound(3)  # before a wrong one is answered
    smtp_auth_checks_max: int = _bound(2)  # at once; each takes a core and 16 MiB
    smtp_auth_peer_failures_max: int = _bound(30)  # wrong passwords of one address, then 421
    smtp_auth_peer_failure_s: int = _bound(60)  # until one is forgotten; so often an old phone asks
    smtp_auth_peers_max: int = _bound(10_000)  # addresses they are counted of; about 2 MB
    smtp_proxy_bytes_max: int = _bound(4 * KIB)  # of a PROXY header; its TLVs are passed over
    smtp_proxy_timeout_s: int = _bound(30)  # for it; proxies send it first thing
    mail_recipient_timeout_s: int = _bound(5)  # for an answer to RCPT, where mail is not waited for
    mail_inline_bytes_max: int = _bound(64 * KIB)  # larger messages go to a blob file
    mail_header_bytes_max: int = _bound(64 * KIB)  # 552; the part that handlers see in memory
    mail_hops_max: int = _bound(50)  # Received fields, then it is a loop; Postfix's figure
    mail_unacknowledged_max: int = _bound(100_000)  # recipients; 20 MB of memory
    mail_unacknowledged_s: int = _bound(432_000)  # five days: as long as Postfix sends it again
    mail_acknowledged_within_s: int = _bound(60)  # then what a crash may forget is in the journal

    # Checks of mail, and the DNS that they ask.
    mail_check_timeout_s: int = _bound(20)  # for all of a message; RFC 7208 section 4.6.4 asks so
    mail_lookups_max: int = _bound(100)  # for one message; SPF alone may need fifty
    mail_signatures_max: int = _bound(10)  # of DKIM that are looked at; the first ones
    dns_lookups_max: int = _bound(200)  # at once; each takes a socket
    dns_answer_chars_max: int = _bound(4 * KIB)  # a longer one counts as none; ten times any need
    dns_cache_answers_max: int = _bound(10_000)  # remembered; about 5 MB
    dns_cache_s_max: int = _bound(3_600)  # however long an answer says that it is true

    # Mail out (RFC 5321 section 4.5.4.1).
    outbox_deliveries_max: int = _bound(10)  # at once, to one destination
    mail_out_connections_max: int = _bound(100)  # at once, to all; ten that are stuck are too few
    mail_out_rate_per_minute_max: int = _bound(60_000)  # messages to one destination
    mail_out_hops_max: int = _bound(10)  # addresses tried in one attempt; all MX of nearly anybody
    mail_out_connect_timeout_s: int = _bound(30)  # for each of them; Postfix's figure
    mail_out_timeout_s: int = _bound(300)  # for each reply of the smarthost, each block of data
    mail_out_final_timeout_s: int = _bound(600)  # after the dot: too soon would mean twice
    mail_out_messages_max: int = _bound(100)  # on one connection, then a fresh one
    mail_out_reply_bytes_max: int = _bound(16 * KIB)  # of one reply, over all its lines
    mail_out_reply_chars_max: int = _bound(500)  # of a reply that are kept in its event
    mail_out_retry_s: int = _bound(300)  # the first pause; doubles
    mail_out_retry_max_s: int = _bound(4_000)  # the longest pause; Postfix's figure
    mail_out_lifetime_s: int = _bound(432_000)  # five days, then it failed

    mail_failures_max: int = _bound(3)  # for good, at one address; then it is suppressed
    mail_returns_max: int = _bound(100_000)  # sent mail that may yet come back; 40 MB of memory
    mail_unreached_max: int = _bound(100_000)  # addresses where mail failed; 30 MB of memory
    mail_held_max: int = _bound(10_000)  # mail in that is held, and as much returned; 10 MB
    mail_bounce_bytes_max: int = _bound(64 * KIB)  # of a report, that are read; it begins with why

    # Calls out.
    call_timeout_s: int = _bound(60)
    call_body_bytes_max: int = _bound(1 * MIB)  # of an answer

    # Schedules.
    schedule_missed_max: int = _bound(1_000)  # moments of one that are made up for; the last ones

    # Fronts.
    front_start_timeout_s: int = _bound(60)  # to be ready; then it is taken for stuck
    front_silence_s: int = _bound(30)  # one says something each second; then it is taken for stuck
    front_restart_ms: int = _bound(100)  # the first pause after one has ended; doubles
    front_restart_max_s: int = _bound(30)  # the longest such pause

    # Cores.
    core_restart_ms: int = _bound(100)  # the first pause after one has ended; doubles
    core_restart_max_s: int = _bound(30)  # the longest such pause

    # Stopping.
    drain_timeout_s: int = _bound(10)  # then connections are cut; what was admitted is kept
