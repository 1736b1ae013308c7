rules => axe.run(document, {resultTypes: ["violations"], ...(rules && {runOnly: rules})}).then(found => found.violations.map(
  rule => `${rule.id}: ${rule.help}: ${rule.nodes.map(node => node.html.slice(0, 200)).join(" | ")}`
))
