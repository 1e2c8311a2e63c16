from scalar_api.cli import app

app()
