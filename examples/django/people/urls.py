"""Routes of the example."""

from django.contrib.auth import views as auth
from django.urls import path

from people import views

urlpatterns = [
    path("", views.people, name="people"),
    path("presence-ticket", views.presence_ticket, name="presence-ticket"),
    path("login", auth.LoginView.as_view(), name="login"),
    path("logout", auth.LogoutView.as_view(), name="logout"),
]
