// Chromium logs these beside the violation; the event names the directive and the place.
addEventListener("securitypolicyviolation", event =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
