// Choosing an option opens the address that the option carries, also when it was chosen before; all else works without a script.
document.addEventListener("click", (event) => {
  const address = event.target instanceof HTMLInputElement && event.target.dataset.url;
  if (address) location.assign(address);
});
