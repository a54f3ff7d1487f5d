// What JupyterHub's administration page expects in global variables; JupyterHub itself writes them by an inline script.
(() => {
  const { baseUrl, prefix, user, xsrf, pageLimit } = document.getElementById("react-admin-hook").dataset;
  window.jhdata = { base_url: baseUrl, prefix, user, admin_access: true, options_form: true, xsrf_token: xsrf };
  window.base_url = baseUrl;
  window.api_page_limit = Number.parseInt(pageLimit, 10);
})();
