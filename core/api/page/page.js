// Shows the OpenAPI document of this server. Text from it is only ever set as
// text, never as markup.
"use strict";

// element makes an element with classes, and children that are nodes or text.
function element(name, classes, ...children) {
  const e = document.createElement(name);
  if (classes) e.className = classes;
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

// follow returns what a reference of the document stands for.
function follow(api, value) {
  while (value && value.$ref) {
    value = value.$ref.slice(2).split("/").reduce((at, part) => at[part], api);
  }
  return value || {};
}

// form tells a schema in a few words.
function form(schema) {
  if (schema === true || !schema) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(" or ");
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "anything";
  if (schema.items) return type + " of " + form(schema.items);
  if (schema.additionalProperties && schema.additionalProperties.type) return type + " of " + form(schema.additionalProperties);
  return type;
}

// table shows the properties of an object's schema.
function table(schema) {
  const required = schema.required || [];
  const body = element("tbody");
  for (const [name, property] of Object.entries(schema.properties || {}).sort()) {
    const marks = [required.includes(name) ? "required" : "", property.writeOnly ? "secret" : ""].filter(Boolean).join(", ");
    body.append(element("tr", "", element("td", "", element("code", "", name)), element("td", "", form(property)),
      element("td", "dim", marks), element("td", "", property.description || "")));
  }
  return element("table", "", body);
}

// shell quotes a text for a command line.
function shell(text) { return "'" + text.replaceAll("'", "'\\''") + "'"; }

function example(path, method, media) {
  const body = media && media.example !== undefined ? JSON.stringify(media.example, null, 2) : "";
  let command = "curl " + (method === "get" ? "" : "-X " + method.toUpperCase() + " ") + shell(location.origin + path.replace("{id}", "1"));
  if (body) command += " \\\n  -H 'Content-Type: application/json' -d " + shell(body);
  return element("pre", "", command);
}

function operation(api, path, method, op) {
  const id = op.operationId;
  const content = element("div", "", element("p", "", op.summary || ""), op.description ? element("p", "", op.description) : null);
  if (op["x-iib-plugin"]) content.append(element("p", "dim", "Plugin: " + op["x-iib-plugin"]));
  const parameters = (op.parameters || []).map((p) => follow(api, p));
  if (parameters.length) {
    const body = element("tbody");
    for (const p of parameters) {
      body.append(element("tr", "", element("td", "", element("code", "", p.name)), element("td", "", form(p.schema)),
        element("td", "dim", p.in + (p.required ? ", required" : "")), element("td", "", p.description || "")));
    }
    content.append(element("h4", "", "Parameters"), element("table", "", body));
  }
  const media = op.requestBody && op.requestBody.content["application/json"];
  if (media) content.append(element("h4", "", "Body"), table(follow(api, media.schema)));
  content.append(element("h4", "", "Example"), example(path, method, media));
  content.append(element("h4", "", "Answers"));
  for (const [status, answer] of Object.entries(op.responses)) {
    const told = follow(api, answer);
    const [type, of] = Object.entries(told.content || {})[0] || ["", {}];
    const details = element("details", "", element("summary", "", status + ": " + told.description + " " + type));
    if (of.schema) details.append(table(follow(api, of.schema)));
    content.append(details);
  }
  const section = element("section", "", element("h3", "", element("span", "method " + method, method.toUpperCase()), element("code", "", path)), content);
  section.id = id;
  return section;
}

async function show() {
  const note = document.getElementById("note");
  const answer = await fetch("/api/v1/openapi.json");
  if (!answer.ok) {
    note.textContent = "The server did not give its documentation: " + answer.status;
    return;
  }
  const api = await answer.json();
  document.getElementById("version").textContent = api.info.version;
  document.getElementById("summary").textContent = api.info.summary + " " + api.info.description;
  note.remove();
  const main = document.getElementById("main"), contents = document.getElementById("contents");
  for (const tag of api.tags) {
    main.append(element("h2", "", tag.description));
    contents.append(element("h2", "", tag.description));
    for (const [path, methods] of Object.entries(api.paths).sort()) {
      for (const [method, op] of Object.entries(methods)) {
        if (!(op.tags || []).includes(tag.name)) continue;
        const link = element("a", "", element("span", "method " + method, method.toUpperCase()), path.replace("/api/v1", ""));
        link.href = "#" + op.operationId;
        contents.append(link);
        main.append(operation(api, path, method, op));
      }
    }
  }
  document.getElementById("search").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase();
    for (const section of main.querySelectorAll("section")) {
      section.hidden = !section.textContent.toLowerCase().includes(words);
    }
  });
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

show().catch((fault) => { document.getElementById("main").textContent = "The documentation cannot be shown: " + fault; });
