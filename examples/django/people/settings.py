"""Settings of the example: a project with one app, SQLite and Django's own login."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).parent.parent

# For an example on your own machine. A real project sets its own secret key, and DEBUG to False.
DEBUG = True
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "example")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

PRESENCE_API = os.environ.get("PRESENCE_API", "http://localhost:3001/api/v1")
PRESENCE_API_KEY = os.environ.get("PRESENCE_API_KEY", "")
PRESENCE_URL = os.environ.get("PRESENCE_URL", "http://localhost:3001")

INSTALLED_APPS = [
    "people",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
ROOT_URLCONF = "people.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DJANGO_DATABASE", BASE_DIR / "db.sqlite3"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "people"
LOGOUT_REDIRECT_URL = "login"
USE_TZ = True
