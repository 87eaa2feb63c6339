// SPDX-License-Identifier: MIT
// A certificate of "localhost" and its private key, for the examples with TLS: everybody has them,
// so they prove nothing.
#pragma once

inline constexpr const char* localhost_certificate = R"(-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUWAK69b8lQTOzbRpBrXQxnP0N+wcwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDA5NDEwN1oYDzIxMjYxMTA2
MDk0MTA3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQc6rqHXu4UMgQA0uSOXxU7y8dyYh3o2T2exD0RO/Vvh4FiG1dSQxZQ
JHIJL1z9QC0nSnV9n55zqYdC17QphGXUo28wbTAdBgNVHQ4EFgQUpHTPYQ7o9yW5
nWBTKdurs6OzXogwHwYDVR0jBBgwFoAUpHTPYQ7o9yW5nWBTKdurs6OzXogwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgYHiSOgPrA+jzGdcE3LXLqE1VNjs4MzVdZm0+H6gBgoECIDw7
+rV6/dVa2CVmjbf3yUJaWaSP7blnukUqVJNow4//
-----END CERTIFICATE-----
)";

inline constexpr const char* localhost_key = R"(-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggZ8RvJfMGXZIL8np
g3MaFEkQXah8fD/d3echWl4AJmihRANCAAQc6rqHXu4UMgQA0uSOXxU7y8dyYh3o
2T2exD0RO/Vvh4FiG1dSQxZQJHIJL1z9QC0nSnV9n55zqYdC17QphGXU
-----END PRIVATE KEY-----
)";
