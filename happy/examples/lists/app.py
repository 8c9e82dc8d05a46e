"""The mailing lists as a whole: who may write to which address, and what each event does."""

from __future__ import annotations

from happy import Configured, MailBounced, MailFailed, MailRoutes, handles
from happy.examples.lists import bounces, earlier, joining, model, owner, posting
from happy.examples.lists.model import Ask, Confirm, Leave, RequestExpired, is_list
from happy.examples.lists.web import Website


class MailingLists(Website):
    """Mailing lists by mail and by web; the configuration names the lists."""

    state = model.Lists
    Settings = model.Settings

    # What may be written to, tried from top to bottom: the last one takes any list's name,
    # so it stands last. A recipient that nobody takes is refused before the letter is sent.
    mail = MailRoutes()
    mail.to("<name>-subscribe@", when=is_list)(joining.subscribe_by_mail)
    mail.to("<name>-unsubscribe@", when=is_list)(joining.unsubscribe_by_mail)
    mail.to("<name>-unsubscribe-<token>@", when=is_list)(joining.leave_by_mail)
    mail.to("<name>-confirm-<token>@", when=joining.is_request)(joining.confirm_by_mail)
    mail.to("<name>-bounces+<token>@", when=is_list)(earlier.report)
    mail.to("<name>-owner@", when=owner.is_owner_of)(owner.pass_on)
    mail.to("postmaster@", when=owner.is_owner)(owner.pass_on)
    mail.to("<name>@", when=is_list)(posting.post)

    # What else can happen: the web door's events, timers, and what became of our mail.
    configure = handles(Configured)(joining.configure)
    ask_by_web = handles(Ask)(joining.ask_by_web)
    confirm_by_web = handles(Confirm)(joining.confirm_by_web)
    leave_by_web = handles(Leave)(joining.leave_by_web)
    expire = handles(RequestExpired)(joining.expire)
    mail_bounced = handles(MailBounced)(bounces.came_back)
    mail_failed = handles(MailFailed)(bounces.refused)
