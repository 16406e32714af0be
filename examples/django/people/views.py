"""Pages of the example, and the route that creates tickets."""

import logging

import httpx
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from people import presence

logger = logging.getLogger(__name__)


@login_required
def people(request: HttpRequest) -> HttpResponse:
    """Show all users, and when they were last seen."""
    users = list(User.objects.order_by("first_name"))
    known = presence.last_seen(user.pk for user in users)
    rows = [{"user": user, **known.get(user.pk, {"status": "unknown", "last_seen": None})} for user in users]
    return render(request, "people.html", {"rows": rows, "presence_url": settings.PRESENCE_URL})


@require_POST
def presence_ticket(request: HttpRequest) -> JsonResponse:
    """Create a ticket for the user who is logged in."""
    if not request.user.is_authenticated:  # a redirect to the login page would not help a script
        return JsonResponse({"error": "not logged in"}, status=401)
    try:
        return JsonResponse({"ticket": presence.new_ticket(request.user.pk, request.user.first_name)})
    except httpx.HTTPError as error:
        logger.warning("no ticket: %s", error)
        return JsonResponse({"error": "presence is not available"}, status=503)
