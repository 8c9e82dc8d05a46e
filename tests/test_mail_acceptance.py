"""What the mail doors promise to whoever stands before them, row by row, and who shows it.

``SHOWN`` names for each row the tests that show it; what no other file shows is shown here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from happy import App, MailRoutes, state
from happy.message import parse_header
from happy.mime import DEPTH_MAX, PARTS_MAX, read_message
from happy.testing import running
from smtp_kit import Door

TESTS = Path(__file__).parent

SHOWN = {
    "250 only after the record is in the ordered journal and synced": [
        "test_wire_smtp.test_250_comes_only_after_the_commit",
        "test_end_to_end.test_a_large_message_is_synced_before_its_250_and_kept_byte_for_byte",
    ],
    "the 250 names the position, and positions have no holes": [
        "test_mail_acceptance.test_the_250_names_the_position_and_positions_have_no_holes",
    ],
    "every message answered 250 survives kill -9, none is half there": [
        "test_lost_250.test_no_message_twice_and_none_lost_though_answers_are_and_the_container_is_killed",
        "test_relays.test_each_clients_and_servers_mail_comes_once_though_the_container_is_killed",
        "test_wire_smtp.test_a_connection_lost_before_the_dot_leaves_nothing",
    ],
    "a retransmission after a lost 250 is one event with the same position": [
        "test_retransmission.test_a_copy_has_the_place_of_the_message",
        "test_retransmission.test_a_copy_is_applied_once_whatever_happens_between",
        "test_lost_250.test_swaks_that_hangs_up_behind_the_dot_brings_it_again_as_the_same",
        "test_relays.test_every_server_sends_again_what_it_has_no_answer_to_and_it_is_one_event",
    ],
    "the same bytes after an observed 250 are two events": [
        "test_retransmission.test_after_the_250_was_read_a_copy_is_a_new_message",
        "test_lost_250.test_the_same_bytes_on_purpose_are_two_messages",
    ],
    "trouble of the journal is 4xx, the session lives, there is no event": [
        "test_wire_smtp.test_how_the_end_of_a_commit_is_said",
        "test_retransmission.test_what_was_not_taken_is_not_remembered",
        "test_disk_full.test_a_full_disk_refuses_and_serves_again_by_itself",
    ],
    "a full queue is 452 at MAIL, and recovers without an operator": [
        "test_retransmission.test_a_full_queue_changes_nothing",
        "test_wire_smtp_refusing.test_trouble_is_said_at_mail_and_passes_by_itself",
        "test_backlog.test_the_backlog_has_the_bound_of_the_queue_and_recovers_by_itself",
        "test_mail_accepting.test_too_large_a_backlog_is_452_before_the_message_and_goes_away_by_itself",
    ],
    "mail is accepted while a handler takes its time or there is no core, and handled once": [
        "test_mail_accepting.test_letters_have_their_250_while_a_handler_takes_its_time",
        "test_backlog.test_mail_has_its_place_while_the_core_does_nothing",
        "test_backlog.test_mail_has_its_place_while_there_is_no_core",
        "test_backlog.test_poison_is_quarantined_however_much_is_behind_it",
        "test_wire_smtp_refusing.test_where_mail_does_not_wait_the_state_must_answer_in_time",
    ],
    "a day's mail replayed comes to the same state, and sends nothing": [
        "test_mail_replay.test_a_days_mail_comes_to_the_same_state_again_and_nothing_is_sent_again",
    ],
    "or it waits for a slow application, and is neither refused nor lost": [
        "test_mail_replay.test_mail_waits_for_an_application_that_takes_its_time",
        "test_wire_smtp_limits.test_time_stands_still_while_a_recipient_is_looked_up",
        "test_wire_smtp_limits.test_time_stands_still_while_a_commit_is_pending",
    ],
    "recipients of a second application are 452 4.5.3, and come in the next transaction": [
        "test_wire_mail_homes.test_one_transaction_is_for_one_application",
        "test_wire_mail_homes.test_the_trouble_of_one_application_is_not_the_others",
        "test_shared_mail_port.test_postfix_brings_a_mail_to_both",
    ],
    "LMTP has a reply for each accepted recipient, in their order": [
        "test_wire_lmtp.test_one_reply_for_each_accepted_recipient",
        "test_wire_smtp_retransmission.test_lmtp_names_the_place_of_each_recipients_message",
    ],
    "LMTP refuses HELO and EHLO; DATA without a recipient is 503": [
        "test_wire_lmtp.test_lhlo_in_place_of_helo_and_ehlo",
        "test_wire_lmtp.test_data_without_recipients_is_503",
    ],
    "every command that RFC 5321 demands is there": [
        "test_mail_acceptance.test_every_command_that_is_demanded_is_there",
    ],
    "commands out of order are 503, and EHLO begins anew": [
        "test_wire_smtp.test_the_order_of_commands",
    ],
    "any split of a session has the same replies in the same order": [
        "test_wire_smtp_pipelining.test_every_split_and_every_moment_of_an_answer_gives_the_same",
        "test_wire_smtp_pipelining.test_any_session_is_the_same_for_every_split",
    ],
    "input out of turn is 554 and the end": [
        "test_wire_smtp.test_one_who_speaks_before_the_greeting_is_sent_away",
        "test_wire_smtp.test_refused_data_with_more_behind_it_ends_the_session",
        "test_wire_smtp.test_nothing_is_read_after_quit",
    ],
    "only CRLF . CRLF ends a message, and a bare CR or LF refuses it": [
        "test_wire_smtp_reader.test_no_other_ending_ends_a_message",
        "test_wire_smtp_reader.test_a_lone_cr_or_lf_refuses_the_message",
        "test_wire_smtp_pipelining.test_nothing_is_carried_out_of_a_message",
        "test_wire_smtp_pipelining.test_a_nul_beside_the_dot_is_in_the_message",
        "test_wire_smtp_pipelining.test_two_messages_at_once_are_two",
    ],
    "the stored bytes are the sent bytes": [
        "test_wire_smtp_reader.test_a_message_with_proper_lines_is_kept_byte_for_byte",
        "test_wire_smtp_sockets.test_swaks_delivers_a_message_byte_for_byte",
        "test_mail_corpora.test_each_message_is_kept_byte_for_byte_and_taken_apart",
    ],
    "a long text line is refused after the dot, and never read as commands": [
        "test_wire_smtp_limits.test_a_long_text_line_is_refused_after_the_dot",
    ],
    "an endless line or message takes bounded memory and ends the session": [
        "test_wire_smtp_limits.test_a_command_line_without_an_end_is_not_kept_and_closes",
        "test_wire_smtp_limits.test_a_message_without_an_end_is_hung_up_on",
        "test_wire_smtp_reader.test_a_message_of_any_size_takes_bounded_memory",
        "test_hostile_mail.test_a_command_line_of_a_gigabyte",
        "test_hostile_mail.test_a_message_of_a_gigabyte",
    ],
    "a long command line is 500 and the session lives; garbage leaves no traceback": [
        "test_wire_smtp_limits.test_a_long_command_line_is_refused_and_the_session_lives",
        "test_wire_smtp.test_garbage_gets_replies_and_no_traceback",
    ],
    "SIZE is told, and a message over it is 552 at MAIL or after the dot": [
        "test_wire_smtp_parameters.test_parameters_of_mail",
        "test_wire_smtp_limits.test_a_message_over_the_limit_is_read_to_its_end",
    ],
    "unknown parameters are 555; those of DSN are kept in the event": [
        "test_wire_smtp_parameters.test_parameters_of_rcpt",
        "test_wire_smtp_parameters.test_parameters_are_kept_with_the_envelope",
    ],
    "addresses in any letters; both spellings of a domain are one": [
        "test_wire_smtp_parameters.test_letters_beyond_ascii_are_for_those_who_speak_smtputf8",
        "test_routes.test_a_pattern_may_be_for_one_domain_or_some",
    ],
    "BDAT in any chunks, bare line ends kept": [
        "test_wire_smtp_chunks.test_a_message_arrives_byte_for_byte_however_it_is_cut",
        "test_wire_smtp_chunks.test_bare_line_ends_are_taken_as_they_are",
        "test_wire_smtp_chunks.test_a_message_over_the_limit_is_refused_at_its_chunk",
    ],
    "every reply has an enhanced code": [
        "test_wire_smtp.test_every_reply_after_ehlo_has_an_enhanced_status",
    ],
    "null sender, postmaster, literals, routes and quoting; no CR, LF or NUL": [
        "test_wire_address.test_paths_are_read_in_one_canonical_form",
        "test_wire_address.test_the_empty_path_and_postmaster_need_no_domain",
        "test_wire_smtp.test_a_control_character_spoils_its_command",
    ],
    "recipients, errors, commands and connections are bounded": [
        "test_wire_smtp_limits.test_too_many_recipients_wait_for_the_next_message",
        "test_wire_smtp_limits.test_too_many_errors_end_the_session",
        "test_wire_smtp_limits.test_connections_are_bounded_in_all_and_for_each_peer",
        "test_mail_acceptance.test_twenty_thousand_recipients_are_a_thousand",
        "test_mail_acceptance.test_a_million_junk_commands_are_twenty",
        "test_hostile_mail.test_twenty_thousand_recipients",
        "test_hostile_mail.test_a_million_junk_commands",
        "test_config.test_limits_for_all_and_for_one",
    ],
    "deadlines for each step and in all; the clock stops while we commit": [
        "test_wire_smtp_limits.test_a_silent_peer_is_closed",
        "test_wire_smtp_limits.test_a_dripping_peer_is_closed_in_the_end",
        "test_hostile_mail.test_one_byte_now_and_then",
        "test_wire_smtp_limits.test_time_stands_still_while_a_commit_is_pending",
    ],
    "routes: exact, tagged, captures, catch-all, per domain; unknown is 550 5.1.1 at RCPT": [
        "test_routes.test_the_first_pattern_that_matches_takes_it",
        "test_routes.test_a_pattern_may_be_for_one_domain_or_some",
        "test_routes.test_a_pattern_that_is_never_reached_is_refused",
        "test_conf_postfix.test_an_unknown_recipient_is_refused_while_the_sender_waits",
        "test_conf_exim.test_an_unknown_recipient_is_refused_while_the_sender_waits",
    ],
    "STARTTLS forgets what came before, and runs nothing that was sent behind it in the clear": [
        "test_wire_certificate.test_what_was_said_before_is_forgotten",
        "test_wire_certificate.test_nothing_that_came_in_the_clear_is_read_as_if_it_had_not",
        "test_wire_certificate.test_a_real_client_sends_over_tls",
    ],
    "what a relay tells of its client is believed from listed peers only": [
        "test_wire_xforward.test_nobody_else_is_believed",
        "test_wire_xforward.test_what_a_relay_tells_is_in_the_event",
        "test_wire_xforward.test_a_real_postfix_tells_of_its_client",
    ],
    "mail out is sent once, and marked where that cannot be known; it is tried again or failed": [
        "test_outbound.test_trouble_for_now_is_tried_again_and_sent_once",
        "test_outbound.test_trouble_after_the_250_changes_nothing",
        "test_outbound.test_a_server_that_takes_its_time_is_left_and_tried_again",
        "test_outbound.test_a_server_that_ends_between_two_messages_gets_the_rest_when_it_is_back",
        "test_outbound.test_a_server_that_serves_nobody_may_do_so_later",
        "test_outbound.test_a_refusal_for_good_fails_at_once",
        "test_outbound.test_a_refusal_in_the_middle_of_a_message_fails_at_once",
        "test_outbound.test_a_refusal_while_a_long_message_is_written_is_no_doubt",
        "test_outbound.test_a_server_that_does_not_read_is_left_and_tried_again",
        "test_outbound.test_a_server_that_reads_late_and_little_gets_its_mail_once",
        "test_outbound.test_a_server_that_wants_a_connection_for_each_message_gets_them",
        "test_outbound.test_a_server_that_serves_one_at_a_time_gets_all",
        "test_outbound.test_a_server_of_another_protocol_is_tried_again",
        "test_outbound.test_a_connection_dropped_after_the_dot_is_ambiguous_and_sent_again_with_its_id",
    ],
    "automatic replies go to no machine, list or bounce, and once a day to a person": [
        "test_auto_reply.test_no_machine_is_answered",
        "test_auto_reply.test_no_bounce_is_answered",
        "test_auto_reply.test_a_person_is_answered_once_a_day",
        "test_examples_lists.test_a_machine_is_not_answered",
    ],
    "what is sent automatically says so, with an id, references and a return path of its own": [
        "test_auto_reply.test_an_answer_says_that_a_machine_wrote_it_and_what_it_answers",
        "test_examples_lists.test_what_we_write_is_marked_as_automatic_and_cannot_bounce",
        "test_examples_lists.test_each_copy_has_a_return_path_of_its_own",
    ],
    "mail out is tried for five days, from 5 to 70 minutes apart, through restarts and replays": [
        "test_wire_smtp_out.test_a_message_is_tried_for_five_days_through_any_restarts",
        "test_wire_smtp_out.test_a_permanent_refusal_fails_at_once",
    ],
    "no chunking breaks a message on its way out, and nothing gets into its envelope": [
        "test_wire_smtp_data.test_no_bytes_can_end_a_message_early",
        "test_wire_smtp_data.test_a_dot_after_a_full_block_is_doubled",
        "test_wire_smtp_client.test_nothing_but_an_address_gets_into_the_envelope",
    ],
    "MX in order of preference, ties at random, the address without any, none for null MX": [
        "test_wire_mx.test_servers_come_in_the_order_of_their_preference",
        "test_wire_mx.test_servers_of_one_preference_share_the_mail",
        "test_wire_mx.test_a_domain_without_mx_is_its_own_server",
        "test_wire_mx.test_where_there_is_no_server_it_is_said_whether_for_good",
        "test_wire_mx.test_mail_finds_its_way_by_real_dns",
        "test_outbound.test_a_server_that_serves_nobody_is_passed_over",
    ],
    "TLS out: opportunistic, MTA-STS enforced, DANE where DNS is authentic; else the mail waits": [
        "test_wire_starttls.test_a_certificate_of_nobody_is_good_enough_and_no_tls_better_than_no_mail",
        "test_wire_dane.test_mail_to_who_shows_the_named_certificate_is_delivered",
        "test_wire_dane.test_mail_waits_until_the_right_certificate_is_shown_and_goes_once",
        "test_wire_dane.test_mail_waits_where_the_records_cannot_be_told",
        "test_wire_dane.test_mail_is_not_sent_in_the_clear_to_who_has_records",
        "test_wire_dane.test_mail_goes_as_ever_where_dns_is_not_validated",
        "test_dane_unbound.test_only_what_is_signed_binds_and_what_was_changed_stops_mail",
        "test_wire_mta_sts.test_mail_goes_over_verified_tls_or_waits",
        "test_wire_mta_sts.test_where_no_server_is_allowed_mail_waits",
    ],
    "one stuck destination delays no other; so many connections and messages to each": [
        "test_outbound.test_one_stuck_destination_delays_no_other",
        "test_wire_destinations.test_a_stuck_destination_delays_no_other",
        "test_wire_destinations.test_a_destination_gets_no_more_than_its_rate",
    ],
    "DKIM by both kinds of key is verified by others, and a report of ours is one for others": [
        "test_wire_dkim.test_both_kinds_of_key_are_verified_by_dkimpy",
        "test_signed_mail.test_what_arrives_behind_a_postfix_is_verified_by_dkimpy_and_opendkim",
        "test_dsn.test_a_report_is_what_rfc_3464_wants",
        "test_dsn.test_others_recognise_our_report",
    ],
    "a bounce at a return path of ours is an event; who fails for good is suppressed, or not": [
        "test_wire_returned.test_a_report_is_an_event_of_the_message_it_is_about",
        "test_wire_returned.test_what_other_servers_write_is_understood",
        "test_returned_mail.test_what_a_server_reports_is_an_event_and_suppresses_who_is_gone",
        "test_returned_mail.test_what_postfix_gives_up_is_an_event_and_suppresses_nobody",
        "test_returned_mail.test_a_notice_that_mail_is_late_is_a_mail_and_no_event",
        "test_wire_returned.test_nobody_can_report_on_what_was_not_sent_to_him",
        "test_wire_returned.test_who_fails_for_good_is_suppressed_until_somebody_says_otherwise",
        "test_cli_mail.test_who_fails_for_good_is_seen_and_written_to_again",
    ],
    "an operator lists mail and has any of it handled again, which is an event that says so": [
        "test_cli_mail.test_a_letter_is_delivered_again_while_the_container_runs",
        "test_cli_mail.test_a_letter_that_a_handler_failed_on_is_found_and_delivered_again",
    ],
    "PROXY v1 and v2, split anywhere, from listed peers only; the greeting comes after it": [
        "test_wire_proxy_header.test_how_it_is_cut_changes_nothing",
        "test_wire_smtp_arrival.test_the_client_behind_a_proxy_is_the_peer",
        "test_wire_smtp_arrival.test_only_listed_proxies_are_read",
        "test_mail_trust.test_swaks_as_a_proxy",
        "test_mail_trust.test_swaks_without_a_header_is_sent_away",
    ],
    "XCLIENT from listed peers at a relay door only; the session begins again": [
        "test_wire_smtp_arrival.test_a_relay_speaks_as_its_client",
        "test_wire_smtp_arrival.test_no_other_door_knows_it",
        "test_mail_trust.test_swaks_speaks_as_its_client",
    ],
    "submission: AUTH only under TLS, MAIL only after it, and the user is in the event": [
        "test_wire_smtp_auth.test_auth_is_offered_under_tls_alone",
        "test_wire_smtp_auth.test_mail_is_taken_from_users_alone_and_their_name_is_in_the_event",
        "test_mail_trust.test_swaks_logs_in_over_tls",
        "test_mail_trust.test_smtplib_logs_in",
    ],
    "wrong passwords are 535 late, then 421; no split changes a reply; no secret is logged": [
        "test_wire_smtp_auth.test_three_wrong_ones_are_enough",
        "test_wire_smtp_auth.test_any_split_gives_the_same_replies_in_the_same_order",
        "test_wire_smtp_auth.test_nothing_of_a_conversation_is_logged",
    ],
    "Received and one Return-Path are put before it, results forged in our name are gone": [
        "test_trace.test_a_message_says_how_it_came",
        "test_trace.test_a_delivered_message_has_one_return_path",
        "test_trace.test_results_that_only_we_could_have_made_are_gone",
    ],
    "SPF, DKIM, DMARC and ARC are facts in the event with DNS's answers; a replay asks nobody": [
        "test_wire_spf_check.test_the_suite_of_the_rfc_comes_through_the_door",
        "test_wire_mail_checks.test_what_is_true_of_a_message_stands_in_its_event",
        "test_wire_mail_checks.test_the_answers_that_it_rests_on_stand_in_the_event",
        "test_wire_mail_checks.test_the_same_answers_give_the_same_facts_again",
        "test_wire_spf_check.test_the_suite_of_the_rfc",
        "test_wire_dkim_verify.test_dkimpy_and_we_agree",
        "test_wire_arc_verify.test_a_chain_holds_when_each_link_does",
        "test_signed_mail.test_what_opendkim_signs_passes_at_a_door",
        "test_signed_corpora.test_valimails_suite_for_arc_comes_through_the_door",
        "test_signed_corpora.test_the_corpus_of_mail_dkim_comes_through_the_door",
        "test_signed_corpora.test_dkimpys_tests_hold_for_the_door",
        "test_mail_facts.test_a_handler_sees_facts_and_a_replay_sees_the_same_without_dns",
    ],
    "a message that loops is 554 5.4.6": [
        "test_wire_smtp_limits.test_a_looping_message_is_refused",
        "test_auto_reply.test_two_desks_do_not_write_to_each_other_for_ever",
    ],
    "hostile MIME never stops the stream": [
        "test_mail_acceptance.test_six_hundred_levels_are_a_message_with_defects",
        "test_mail_acceptance.test_a_hundred_thousand_parts_are_a_message_with_defects",
        "test_mime.test_any_message_can_be_read",
        "test_mail_corpora.test_each_message_is_kept_byte_for_byte_and_taken_apart",
        "test_hostile_mail.test_a_message_that_cannot_be_taken_apart",
    ],
    "at the end, 421 to idle sessions, and a message on its way may finish": [
        "test_wire_smtp_limits.test_draining_closes_idle_sessions_and_lets_messages_end",
        "test_restart.test_a_restart_under_load_refuses_nobody_and_loses_nothing",
    ],
    "requests and mail stand in one order": [
        "test_end_to_end.test_the_journal_shows_web_and_mail_in_one_order",
    ],
    "an operator lists, holds, returns and redelivers any mail by its place; each is an event": [
        "test_cli_mail.test_the_queue_is_seen_and_hurried_and_given_up",
        "test_cli_mail.test_a_letter_is_delivered_again_while_the_container_runs",
        "test_cli_mail.test_a_letter_that_a_handler_failed_on_goes_back_to_who_sent_it",
        "test_holds.test_an_image_has_what_is_held_and_goes_on_the_same",
    ],
}


@pytest.mark.parametrize("row", SHOWN)
def test_each_row_is_shown(row):
    """The tests that a row names are there."""
    assert SHOWN[row]
    for name in SHOWN[row]:
        module, _, function = name.partition(".")
        tree = ast.parse((TESTS / f"{module}.py").read_text())
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in found, name


@state
class Count:
    taken: int = 0


class Tickets(App):
    state = Count
    mail = MailRoutes()

    @mail.to("<who>@")
    def take(state, mail, context, who):
        state.taken += 1


def test_the_250_names_the_position_and_positions_have_no_holes():
    """Promise 2: a hundred messages, one position after the other."""
    with running(Tickets) as tickets:
        texts = [
            tickets.mail("a@s.example", "x@app.example", b"\r\nx\r\n").text for _ in range(100)
        ]
        assert tickets.state.taken == 100
    positions = [int(text.removeprefix("2.0.0 Ok tickets/")) for text in texts]
    assert positions == list(range(positions[0], positions[0] + 100))


def test_every_command_that_is_demanded_is_there():
    """RFC 5321 section 4.5.1, and VRFY tells nothing (section 3.5.3)."""
    peer = Door().connect()
    said = [b"HELO c", b"EHLO c", b"NOOP", b"VRFY x", b"MAIL FROM:<>", b"RSET", b"MAIL FROM:<>",
            b"RCPT TO:<dev@lists.example>", b"DATA", b"x", b".", b"HELP", b"QUIT"]  # fmt: skip
    for line in said:
        peer.say(line)
    assert peer.codes == [220, 250, 250, 250, 252, 250, 250, 250, 250, 354, 250, 214, 221]


def test_twenty_thousand_recipients_are_a_thousand():
    """The first thousand are taken, the others wait, and who goes on regardless is sent away."""
    peer = Door().connect().greet()
    peer.say(b"MAIL FROM:<>")
    peer.push(b"RCPT TO:<dev@lists.example>\r\n" * 20_000)
    codes = peer.codes[3:]
    assert codes[:1000] == [250] * 1000
    assert set(codes[1000:-1]) == {452}
    assert codes[-1] == 421
    assert len(codes) < 2_100
    assert not peer.wire.open


def test_a_million_junk_commands_are_twenty():
    """The session ends at the twentieth; what else has come is dropped."""
    peer = Door().connect()
    peer.push(*[b"JUNK\r\n" * 10_000] * 100)
    assert peer.codes == [220, *[500] * 19, 421]
    assert not peer.wire.open


def nested(levels: int) -> bytes:
    """Return multiparts in multiparts."""
    return b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n)
        for n in range(levels)
    ) + b"\r\nx\r\n"  # fmt: skip


def test_six_hundred_levels_are_a_message_with_defects():
    """They are taken apart to a depth, and what is deeper is said to be."""
    message = read_message(nested(600))
    assert max(part.depth for part in message.parts) <= DEPTH_MAX
    assert message.defects
    assert parse_header(nested(600)).content_type.kind == "multipart/mixed"


def test_a_hundred_thousand_parts_are_a_message_with_defects():
    """The first ones are there, and that there are more is said."""
    content = b"Content-Type: multipart/mixed; boundary=b\r\n" + b"\r\n--b\r\n\r\nx" * 100_000
    message = read_message(content)
    assert len(message.parts) <= PARTS_MAX
    assert message.defects
