// Which model and version is asked: kept in the page's address, so that it can be shared.
export function readChoice() {
  const query = new URLSearchParams(location.search);
  const version = query.get("version") ?? "";
  return {
    model: query.get("model") ?? "",
    version: /^\d{1,19}$/.test(version) ? version : "",
    label: /^\d{1,19}$/.test(version) ? "" : (query.get("label") ?? ""),
  };
}

export function keepChoice(choice) {
  const query = new URLSearchParams(Object.entries(choice).filter(([, value]) => value));
  history.replaceState(null, "", `${query}` === "" ? location.pathname : `?${query}`);
}

export function inWords({ version, label }, newest) {
  if (version) return `version ${version}`;
  if (label) return `label ${label}`;
  return newest ? `newest version (${newest})` : "newest version";
}
