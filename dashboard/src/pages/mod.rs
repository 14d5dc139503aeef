//! What is answered: one file for each page and what belongs to it.

pub mod admin;
pub mod assets;
pub mod choice;
pub mod config;
pub mod days;
pub mod failed;
pub mod frame;
pub mod home;
pub mod live;
pub mod login;
pub mod mine;
pub mod oidc;
pub mod openapi;
pub mod respond;
pub mod setting;
pub mod suggestions;
pub mod times;
pub mod tools;
mod usage;
pub mod user;
pub mod users;
