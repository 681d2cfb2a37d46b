"""The Celery side: the app, its tasks and its commands."""
