// `only` has the ids of rules; all rules that are on by default if it is null.
only => axe.run(document, {
  resultTypes: ["violations"],
  ...(only && {runOnly: {type: "rule", values: only}}),
}).then(found => found.violations.map(
  rule => `${rule.id}: ${rule.help}: ${rule.nodes.map(node => node.html.slice(0, 200)).join(" | ")}`
))
