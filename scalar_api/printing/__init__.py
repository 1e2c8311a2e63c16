"""Invoices and usage on paper and in spreadsheets: HTML to print, PDF, CSV. All say what `document` says."""
